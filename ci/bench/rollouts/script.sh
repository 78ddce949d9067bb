# What the limit does on a host, in one go. Before it stand the values and the functions gate and control.
set -eu
new_uv() { UV_CACHE_DIR=$root/cache UV_NO_CONFIG=1 UV_DEFAULT_INDEX=$index_url "$uv" "$@"; }
mkdir -p "$root/releases" "$root/log"
old=$(readlink "$root/current" || true)
if [ "$old" = "$release" ] && printf %s "$conf" | cmp -s - "$conf_file"; then
  gate
  exit
fi

if [ ! -e "$release/COMPLETE" ]; then
  rm -rf "$release"
  printf %s "$requirements" | LC_ALL=C sort >"$root/requirements.txt"
  if [ "$how" = clone ] && [ -n "$old" ]; then
    cp -al "$old" "$release"
    rm "$release/COMPLETE"
    # files are shared with the old release: sed makes a new one, as does uv
    grep -rIlZF -- "$old" "$release/bin" | xargs -0 sed -i "s#$old#$release#g"
    LC_ALL=C comm -13 "$old/requirements.txt" "$root/requirements.txt" >"$root/wanted.txt"
  else
    new_uv venv --quiet --python "$python" "$release"
    cp "$root/requirements.txt" "$root/wanted.txt"
  fi
  new_uv pip install --quiet --require-hashes --only-binary :all: --no-deps --python "$release" -r "$root/wanted.txt"
  cp --remove-destination "$root/requirements.txt" "$release/requirements.txt"
  "$release/bin/python" -c "import $module"
  touch "$release/COMPLETE"
fi

saved=$root/previous.conf
rm -f "$saved"
if [ -e "$conf_file" ]; then ln "$conf_file" "$saved" 2>/dev/null || cp "$conf_file" "$saved"; fi
printf %s "$conf" >"$conf_file.new"
mv "$conf_file.new" "$conf_file"
control update
if gate; then
  ln -sfn "$release" "$root/current"
  exit
fi
if [ -e "$saved" ]; then mv "$saved" "$conf_file"; else rm "$conf_file"; fi
control update
gate
exit 1

"""The root file systems that hosts of the root lab share, read-only: small Debians, each built once and cached."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pinwheel import process

PACKAGES = ("openssh-server", "supervisor", "python3-venv", "iproute2", "procps", "ca-certificates")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a base is made of: `packages` beside `PACKAGES`, from `suite` of the machine's own mirror.

    `suite` empty: the machine's own. `programs`: folders of the base whose programs stand in for those of /usr/bin.
    """

    suite: str
    packages: tuple[str, ...]
    apt_options: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


OWN = Recipe("", ("sudo",))
"""The machine's own distribution: on Debian 12 it is near Ubuntu 24.04 (Python 3.11, supervisor 4.2)."""

RUST = Recipe(
    "forky",
    # sudo for its sudoers and its PAM service, which sudo-rs reads
    ("sudo", "sudo-rs", "rust-coreutils"),
    # a mirror that is frozen at some day goes on being read after its signature's last one
    apt_options=('Acquire::Check-Valid-Until "false"',),
    programs=("usr/lib/cargo/bin", "usr/lib/cargo/bin/coreutils"),
)
"""Near Ubuntu 26.04: Python 3.14, supervisor 4.3, sudo and the core utilities written anew in Rust."""

DEPLOY_USER = "deploy"
DEPLOY_UID = 1000

BUILD_TIMEOUT_S = 900

DPKG_OPTIONS = (
    # A build that a crash interrupts is thrown away as a whole, so dpkg need not sync every file.
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)

CONTAINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""In namespaces of its own: whoever builds and is killed takes all of the build along, mounts too."""

FILES = {
    "etc/sudoers.d/deploy": (0o440, f"{DEPLOY_USER} ALL=(ALL) NOPASSWD:ALL\n"),
    "etc/ssh/sshd_config.d/10-lab.conf": (
        0o644,
        "UseDNS no\nPasswordAuthentication no\nMaxStartups 100\nMaxSessions 50\n",
    ),
}
"""What the base has beside Debian's own files: path → (mode, text)."""


class NoBase(Exception):
    """The base cannot be built on this machine; the text says why."""


def cached(recipe: Recipe = OWN, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The base of `recipe`, when it was built before; None when it was not. Raises `NoBase`."""
    base = _cache(environ) / _key(recipe, *_source(recipe))
    return base if base.is_dir() else None


def ready(recipe: Recipe = OWN, environ: Mapping[str, str] = os.environ) -> Path:
    """The base of `recipe`, built now unless it is cached. Needs root.

    Whoever comes while another process builds waits for it. Raises `NoBase`, for instance when the machine's mirror
    does not have the suite.
    """
    suite, mirror = _source(recipe)
    cache = _cache(environ)
    base = cache / _key(recipe, suite, mirror)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{base.name}.lock"):
        if base.is_dir():
            return base
        for debris in cache.glob(f"{base.name}.new-*"):
            shutil.rmtree(debris)
        new = Path(tempfile.mkdtemp(prefix=f"{base.name}.new-", dir=cache))
        try:
            _build(new, recipe, suite, mirror)
            # rename last: a base that is there is whole
            new.rename(base)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return base


def _build(root: Path, recipe: Recipe, suite: str, mirror: str) -> None:
    # root's file system: sshd and sudo refuse one that others can write to
    root.chmod(0o755)
    _run(
        *CONTAINED,
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join((*PACKAGES, *recipe.packages))}",
        *(f"--aptopt={option}" for option in recipe.apt_options),
        *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
        suite,
        str(root),
        mirror,
    )
    _run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "-u", str(DEPLOY_UID), DEPLOY_USER)
    for folder in recipe.programs:
        for program in (root / folder).iterdir():
            if not program.is_dir():
                (root / "usr/bin" / program.name).unlink(missing_ok=True)
                (root / "usr/bin" / program.name).symlink_to(f"/{folder}/{program.name}")
    for name, (mode, text) in FILES.items():
        (root / name).write_text(text)
        (root / name).chmod(mode)
    # every host gets a key of its own; a shared one would make host key checks vacuous
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for leftover in ("var/lib/apt/lists", "var/cache/apt/archives"):
        shutil.rmtree(root / leftover, ignore_errors=True)


def _run(*argv: str) -> None:
    done = process.run(
        argv, timeout_s=BUILD_TIMEOUT_S, env=process.scrubbed(os.environ, DEBIAN_FRONTEND="noninteractive")
    )
    if done.exit_code != 0:
        raise NoBase(f"{argv[0]} ended with {done.exit_code}:\n{process.tail(done.output + done.errors)}")


@functools.cache
def _source(recipe: Recipe) -> tuple[str, str]:
    """Suite and mirror of `recipe`; the mirror is the machine's own, as its apt knows it. Raises `NoBase`."""
    codename = ""
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_CODENAME":
                codename = value.strip('"')
    # apt reads its sources in all their formats, so that we need not
    argv = ("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Identifier: Packages")
    try:
        listing = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout
    except OSError as error:
        raise NoBase("apt-get is not installed: the lab's base is a Debian or Ubuntu") from error
    for line in listing.splitlines():
        release, component, uri = line.split(maxsplit=2)
        if release == codename and component == "main":
            return recipe.suite or codename, uri
    raise NoBase(f"apt's sources name no mirror for {codename or 'this system'}")


def _key(recipe: Recipe, suite: str, mirror: str) -> str:
    made_of = repr((mirror, recipe, PACKAGES, DPKG_OPTIONS, FILES, DEPLOY_USER, DEPLOY_UID))
    return f"{suite}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def _cache(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/root")) / ".cache")
    return Path(home) / "pinwheel-lab"


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

"""Where clients keep their configuration on this machine: the place that finds, reads and writes these files."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.installers.settings import ClientFile, joined


@dataclass(frozen=True, slots=True)
class Pending:
    """A file as it will be: `text` is all of it, `mode` its permissions (None for its owner's alone), `changed` when it
    has to be written."""

    path: Path
    text: str = field(repr=False)
    mode: int | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there, with its mode."""

    path: Path
    text: str = field(repr=False)
    mode: int

    @property
    def open_to_others(self) -> bool:
        return bool(self.mode & 0o077)


def destination(file: ClientFile, folder: Path | None, environ: Mapping[str, str]) -> Path:
    """Where `file` belongs: below `folder` when one is given, else where this user's clients look."""
    if folder is not None:
        return folder / file.path
    if file.form == "netrc" and environ.get("NETRC"):
        return Path(environ["NETRC"])
    if file.path.startswith(".config/"):
        return _configuration(environ, _home(environ)) / file.path.removeprefix(".config/")
    return _home(environ) / file.path


def prepare(file: ClientFile, path: Path) -> Pending:
    """Join `file` with what stands at `path`; nothing is written. Raises `PinwheelError` when they do not agree."""
    if path.is_symlink():
        raise PinwheelError(
            "this is a symbolic link, and what it leads to may be shared",
            where=str(path),
            remedy="put in by hand what the command prints without --write",
        )
    found = read(path)
    try:
        text = joined(found.text if found else "", file)
    except PinwheelError as error:
        error.where = str(path)
        raise
    settled = found is not None and found.text == text and not (file.secret and found.open_to_others)
    mode = found.mode if found and not file.secret else None
    return Pending(path, text, mode, changed=not settled)


def write(pending: Pending) -> None:
    """Put it there whole, its owner's alone from the first byte; a file without a secret keeps the mode it had."""
    pending.path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=pending.path.parent, prefix=f".{pending.path.name}.")
    try:
        with os.fdopen(handle, "w") as out:
            out.write(pending.text)
            out.flush()
            os.fsync(out.fileno())
        if pending.mode is not None:
            Path(partial).chmod(pending.mode)
        Path(partial).replace(pending.path)  # rename last: a client must never read half a file
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def read(path: Path) -> Found | None:
    """The file, None when there is none. Raises `PinwheelError` when it cannot be read."""
    try:
        with path.open(encoding="utf-8") as opened:
            return Found(path, opened.read(), stat.S_IMODE(os.fstat(opened.fileno()).st_mode))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PinwheelError(
            f"the file cannot be read: {getattr(error, 'strerror', 'it is not text')}",
            where=str(path),
            remedy="correct it, or its permissions",
        ) from error


def readable(paths: Iterable[Path]) -> list[Found]:
    """Those that are there. What this user cannot read, this user's clients cannot either."""
    found = []
    for path in paths:
        with contextlib.suppress(PinwheelError):
            found += [file] if (file := read(path)) else []
    return found


def of_pip(environ: Mapping[str, str]) -> list[Path]:
    """pip's files, from the weakest to the one that decides."""
    if environ.get("PIP_CONFIG_FILE") == os.devnull:
        return []
    files = [folder / "pip/pip.conf" for folder in _shared(environ)]
    files.append(Path("/etc/pip.conf"))
    if environ.get("HOME"):
        home = _home(environ)
        files += [home / ".pip/pip.conf", _configuration(environ, home) / "pip/pip.conf"]
    if environ.get("VIRTUAL_ENV"):
        files.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    if environ.get("PIP_CONFIG_FILE"):
        files.append(Path(environ["PIP_CONFIG_FILE"]))
    return files


def of_uv(environ: Mapping[str, str]) -> list[Path]:
    """uv's own files, those of projects aside."""
    if environ.get("UV_NO_CONFIG"):
        return []
    if environ.get("UV_CONFIG_FILE"):
        return [Path(environ["UV_CONFIG_FILE"])]
    files = [*(folder / "uv/uv.toml" for folder in _shared(environ)), Path("/etc/uv/uv.toml")]
    if environ.get("HOME"):
        files.append(_configuration(environ, _home(environ)) / "uv/uv.toml")
    return files


def of_pdm(environ: Mapping[str, str]) -> Path | None:
    return _configuration(environ, _home(environ)) / "pdm/config.toml" if environ.get("HOME") else None


def with_secrets(environ: Mapping[str, str]) -> Iterator[Path]:
    """This user's files in which clients keep credentials."""
    if not environ.get("HOME"):
        return
    home = _home(environ)
    configuration = _configuration(environ, home)
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    yield Path(environ.get("NETRC") or home / ".netrc")
    yield home / ".pypirc"
    yield home / ".pip/pip.conf"
    for name in ("pip/pip.conf", "uv/uv.toml", "pypoetry/auth.toml", "pdm/config.toml"):
        yield configuration / name
    yield data / "uv/credentials/credentials.toml"


def of_project(folder: Path) -> Iterator[Path]:
    """The files of a repository that can name indexes."""
    yield folder / "pyproject.toml"
    yield folder / "uv.toml"
    yield from sorted(folder.glob("requirements*.txt"))


def _home(environ: Mapping[str, str]) -> Path:
    if not environ.get("HOME"):
        raise UsageError("there is no home folder", remedy="set HOME, or name a folder: --write FOLDER")
    return Path(environ["HOME"])


def _configuration(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")


def _shared(environ: Mapping[str, str]) -> list[Path]:
    return [Path(each) for each in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if each]

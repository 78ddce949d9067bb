"""Build with PyPA `build`: the sdist, then the wheels from that sdist, each in an isolated environment.

The environment's dependencies come from the private index and from nowhere else. uv, which installs them, gets the
index's credential; the build backend, which is other people's code, gets a handful of variables, no credential and,
where the kernel allows it, no network.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from operator import attrgetter
from pathlib import Path

from build import BuildBackendException, BuildException, ProjectBuilder

from pinwheel import process
from pinwheel.errors import PinwheelError
from pinwheel.packaging.building import ingredients
from pinwheel.packaging.building.ingredients import BuildLock
from pinwheel.packaging.building.pythons import Interpreter, serves
from pinwheel.packaging.manifest import direct_urls
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.statement import Dependency
from pinwheel.packaging.workspace import unless_full

BUILD_S = 3600.0
SHOWN_LINES = 25
HOOK_FRAMES = re.compile(r'^  File "[^"\n]*[/\\]pyproject_hooks[/\\][^"\n]*".*\n(?: {4}.*\n)*', re.MULTILINE)
"""The frames of a traceback that call the backend: they say nothing of what went wrong in it."""


VENV_LINE = re.compile(r"^(\w+) = (.*)$", re.MULTILINE)
THIS_PYTHON = Interpreter("{}.{}".format(*sys.version_info), sys.executable)


class BuildFailed(PinwheelError):
    """A build backend, or the installation of what it needs, did not succeed."""


@dataclass(frozen=True, slots=True)
class Built:
    """An archive as the backend made it, the version of the Python that ran the backend, and the distributions in
    the environment of both."""

    path: Path
    python: str
    dependencies: tuple[Dependency, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an archive must not depend on: the time zone and the umask that its backend sees; with `shuffled` times
    of its source's files."""

    timezone: str = "UTC"
    umask: int = 0o022
    shuffled: bool = False


USUAL = Surroundings()
# in POSIX' notation, for which a machine needs no table of time zones
OTHER = Surroundings("PIN-12:45", 0o077, shuffled=True)


@dataclass(slots=True)
class Workplace:
    """Where one project is built: everything temporary is below `folder`, the output of each step in `logs`.

    `variables` are what the backend sees beside the allowlist (`SOURCE_DATE_EPOCH`, a version). There is a wheel for
    each of `interpreters`, the first of which makes the sdist. `cut_off` is put before each argv of the backend's.
    """

    resolver: Resolver
    folder: Path
    logs: Path
    variables: Mapping[str, str]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    interpreters: tuple[Interpreter, ...] = (THIS_PYTHON,)
    cut_off: tuple[str, ...] = ()
    surroundings: Surroundings = USUAL
    steps: int = 0

    @property
    def disks(self) -> tuple[Path, ...]:
        """Folders on every disk that a build writes to."""
        return (self.folder, self.logs, self.resolver.cache)

    def log(self, step: str) -> Path:
        """A new file for the output of one step; they sort in the order of the steps."""
        self.steps += 1
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{self.steps:02}-{step}.log"


def assemble(root: Path, out: Path, place: Workplace) -> list[Built]:
    """Build the project in `root` into the folder `out`: an sdist, then a wheel for every Python that none before it
    serves. Raises `BuildFailed` with the backend's last words."""
    out.mkdir(parents=True, exist_ok=True)
    first, *others = place.interpreters
    try:
        environment = BuildEnvironment(place, first)
        builder = environment.builder(root)
        environment.install(builder.build_system_requires)
        for_sdist = builder.get_requires_for_build("sdist")
        environment.install(for_sdist)
        sdist = environment.built(builder.build("sdist", out))
        unpacked = _unpack(sdist.path, place.folder / "sdist")
        again = environment.builder(unpacked)
        for_wheel = again.get_requires_for_build("wheel")
        if again.build_system_requires == builder.build_system_requires and for_sdist <= for_wheel:
            environment.install(for_wheel)
            wheels = [environment.built(again.build("wheel", out))]
        else:
            # what the sdist alone needed must not be there when the wheel is built
            wheels = [_wheel(unpacked, out, BuildEnvironment(place, first))]
        for python in others:
            if not any(serves(wheel.path.name, python.version) for wheel in wheels):
                # not where another Python has left its objects
                unpacked = _unpack(sdist.path, place.folder / f"sdist-{python.version}")
                wheels.append(_wheel(unpacked, out, BuildEnvironment(place, python)))
    except (BuildException, BuildBackendException) as error:
        raise _failed(error, place) from error
    return [sdist, *wheels]


def _wheel(root: Path, out: Path, environment: BuildEnvironment) -> Built:
    """Build a wheel in an environment that is empty yet."""
    builder = environment.builder(root)
    environment.install(builder.build_system_requires)
    environment.install(builder.get_requires_for_build("wheel"))
    return environment.built(builder.build("wheel", out))


def wheel_from(sdist: Path, out: Path, place: Workplace) -> Built:
    """Build the wheel of somebody else's sdist into the folder `out`, as `assemble` does it of an own one, by the first
    of the interpreters. Raises `BuildFailed`."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        return _wheel(_unpack(sdist, place.folder / "sdist"), out, BuildEnvironment(place, place.interpreters[0]))
    except (BuildException, BuildBackendException) as error:
        raise _failed(error, place) from error


class BuildEnvironment:
    """An isolated environment as `build` asks for one (`build.env.IsolatedEnv`), made and filled by uv.

    Not build's own, because that hands one environment of variables to installer and backend alike.
    """

    def __init__(self, place: Workplace, python: Interpreter) -> None:
        self._place = place
        self._folder = place.folder / f"environment-{place.steps}"
        self._installed: set[str] = set()
        self._lock = BuildLock({})
        self._home = place.folder / "home"
        self._home.mkdir(exist_ok=True)
        self._uv("create", "venv", "--python", python.path, str(self._folder))

    @property
    def python_executable(self) -> str:
        return str(self._folder / "bin" / "python")

    def make_extra_environ(self) -> Mapping[str, str]:
        return {"PATH": f"{self._folder / 'bin'}{os.pathsep}{self._place.environ.get('PATH', os.defpath)}"}

    def builder(self, root: Path) -> ProjectBuilder:
        """PyPA build's view of the project in `root`, whose backend runs in this environment.

        Raises `BuildFailed` for a `backend-path` that leaves the project, as PEP 517 asks.
        """
        # pyproject_hooks gives each warning of the backend once more, across what shows the progress of other builds
        warnings.simplefilter("ignore", UserWarning)
        try:
            return ProjectBuilder.from_isolated_env(self, root, runner=self._run_backend)
        except ValueError as error:
            raise BuildFailed(
                f"build-system.backend-path in pyproject.toml cannot be used: {error}",
                remedy="every folder of backend-path must lie inside the project",
            ) from error

    def install(self, requirements: set[str]) -> None:
        """Install what is not there yet. Raises `BuildFailed`."""
        missing = sorted(requirements - self._installed)
        direct = direct_urls(missing)
        if direct:
            raise BuildFailed(
                f"the build requirement {direct[0]!r} names an address",
                remedy="require it by name and version, so that it comes from the index",
            )
        if not missing:
            return
        self._installed |= requirements
        asked = self._place.folder / f"requirements-{self._place.steps}.txt"
        asked.write_text("\n".join(sorted(self._installed)) + "\n")
        # wheels only: an sdist's backend would run with the installer's variables, which hold the credential
        options = ("--quiet", "--only-binary", ":all:", "--python", self.python_executable)
        # locked first, so that uv installs the bytes that the statement names. uv reads the lock that it replaces: what
        # is installed stays at its version if the new requirements let it
        locked = self._folder / "pylock.toml"
        self._uv("lock", "pip", "compile", *options, "--output-file", str(locked), str(asked))
        self._lock = ingredients.read(locked.read_text())
        self._uv("install", "pip", "sync", *options, "--allow-empty-requirements", str(locked))

    def built(self, path: str) -> Built:
        """An archive that was made just now, with what there is to know of this environment."""
        folders = [str(each) for each in self._folder.glob("lib/python*/site-packages")]
        there = [
            self._lock.dependency(each.name, each.version, each.read_text("WHEEL") or "")
            for each in distributions(path=folders)
        ]
        about = dict(VENV_LINE.findall((self._folder / "pyvenv.cfg").read_text()))
        return Built(Path(path), about["version_info"], tuple(sorted(there, key=attrgetter("name", "version"))))

    def _uv(self, step: str, *words: str) -> None:
        log = self._place.log(f"{step}-environment")
        done = self._place.resolver.run(words, cwd=self._place.folder, log=log)
        if done.exit_code:
            error = BuildFailed(
                f"the build environment cannot be made:\n{process.tail(done.output, SHOWN_LINES)}",
                where=str(log),
                remedy="what a build needs must be in the private index, as wheels, or come through its upstream",
            )
            raise unless_full(error, *self._place.disks)

    def _run_backend(
        self, cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
    ) -> None:
        """Run one hook of the backend: what it prints goes to the step's log, what it sees is listed here."""
        surroundings = self._place.surroundings
        # debug information and __FILE__ name the folder, which is another one in each build; gcc and clang know this.
        # Not CFLAGS: those take the place of the flags that Python was built with, -O2 among them
        mapped = shlex.quote(f"-ffile-prefix-map={self._place.folder}=/build")
        env = process.scrubbed(
            self._place.environ,
            HOME=str(self._home),  # no ~/.pydistutils.cfg, no ~/.gitconfig
            LC_ALL="C.UTF-8",
            TZ=surroundings.timezone,
            CPPFLAGS=mapped,
            PYTHONHASHSEED="0",
            PYTHONDONTWRITEBYTECODE="1",
            PYTHONNOUSERSITE="1",
            PYTHONUNBUFFERED="1",  # what it prints comes before the traceback that it ends with
            # a backend that runs an installer of its own finds the private index, without a credential
            PIP_CONFIG_FILE=os.devnull,
            PIP_INDEX_URL=self._place.resolver.simple_url,
            UV_NO_CONFIG="1",
            UV_DEFAULT_INDEX=self._place.resolver.simple_url,
            **self._place.variables,
        )
        # pyproject_hooks names the hook as the last word but one
        hook = cmd[-2] if len(cmd) > 2 else "backend"
        log = self._place.log(hook.replace("_", "-"))
        where = Path(cwd) if cwd else None
        done = process.run(
            (*self._place.cut_off, *cmd),
            cwd=where,
            env=env | dict(extra_environ or {}),
            log=log,
            timeout_s=BUILD_S,
            umask=surroundings.umask,
        )
        if done.exit_code:
            raise subprocess.CalledProcessError(done.exit_code, list(cmd), done.output)


def _unpack(sdist: Path, into: Path) -> Path:
    """Unpack an sdist that was built just now and return its top folder."""
    into.mkdir(parents=True)
    try:
        with tarfile.open(sdist, "r:gz") as archive:
            if hasattr(tarfile, "data_filter"):  # Python before 3.11.4 has none, and the backend ran as us anyway
                archive.extractall(into, filter="data")
            else:
                archive.extractall(into)  # noqa: S202
    except (tarfile.TarError, EOFError, zlib.error) as error:
        cut = BuildFailed(
            f"the backend made an sdist that cannot be unpacked: {error}",
            where=sdist.name,
            remedy="`python -m build` in the repository should fail in the same way; see what its backend does",
        )
        raise unless_full(cut, into) from error
    return next(into.iterdir())


def _failed(error: Exception, place: Workplace) -> PinwheelError:
    """What `build` raised, as an error with the last words of the step that failed."""
    cause = getattr(error, "exception", None)
    if isinstance(cause, PinwheelError):
        return cause
    logs = sorted(place.logs.glob("*.log")) if place.logs.is_dir() else []
    said = logs[-1].read_text(errors="replace") if logs and cause is not None else ""
    said = process.tail(HOOK_FRAMES.sub("", said), SHOWN_LINES)
    if isinstance(cause, OSError):
        raise cause  # ours, not the backend's: a log or an answer of it cannot be written
    remedy = "the file above has the whole output; `python -m build` in the repository should fail in the same way"
    if place.cut_off:
        remedy += ", unless a network is what it needs: `network = true` in the project's table of pinwheel.toml"
    failed = BuildFailed(
        f"the build failed: {error}" + (f"\n{said}" if said else ""),
        where=str(logs[-1]) if logs else "",
        remedy=remedy,
    )
    return unless_full(failed, *place.disks)

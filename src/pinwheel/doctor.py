"""`pinwheel doctor`: what is missing on this machine and in this configuration, each finding with a remedy."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pinwheel import config, console, process
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.ledger import REFUSED, spools
from pinwheel.packaging.targets import oldest_first, targets

KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
"""Where OpenSSH, and so we, look for host keys unless the configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` is `fault` (what was asked for cannot work), `advice` (it works, and could be better) or `good`."""

    level: str
    subject: str
    problem: str
    remedy: str = ""


def examine(start: Path | None = None, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Look at the machine, then the configuration, then what it names. Changes nothing."""
    found = list(_machine(environ))
    try:
        loaded = config.load(start, environ)
    except PinwheelError as error:
        return [*found, Finding("fault", "configuration", f"{error.problem}: {error.where}", error.remedy)]
    return [
        *found,
        *_configuration(loaded),
        *_exceptions(loaded),
        *_index(loaded, environ),
        *_clients(loaded, start or Path.cwd(), environ),
        *_hosts(loaded),
        *_spool(environ),
    ]


def report(findings: list[Finding], *, as_json: bool) -> bool:
    """Print the findings; True when none is a fault."""
    well = not any(one.level == "fault" for one in findings)
    if as_json:
        console.document({"ok": well, "findings": [dataclasses.asdict(one) for one in findings]})
        return well
    console.table(
        ("", "subject", "finding", "remedy"),
        [(one.level, one.subject, one.problem, one.remedy) for one in findings],
    )
    return well


def _machine(environ: Mapping[str, str]) -> Iterator[Finding]:
    for program, level, why in (
        ("git", "fault", "packages are built from git"),
        ("ssh-keygen", "advice", "statements are not signed without it"),
    ):
        if shutil.which(program, path=environ.get("PATH")) is None:
            package = {"ssh-keygen": "openssh-client"}.get(program, program)
            yield Finding(level, program, f"not installed: {why}", f"sudo apt-get install {package}")
        else:
            yield Finding("good", program, "installed")
    git = shutil.which("git", path=environ.get("PATH"))
    if git:
        yield from _git_version(git)
    from pinwheel.packaging.building import isolation

    if isolation.cut_off():
        yield Finding("good", "isolation", "build backends run without a network")
    else:
        remedy = "install util-linux; build as root, or where the kernel lets everybody make user namespaces"
        yield Finding("advice", "isolation", "build backends have the network of this machine", remedy)


def _git_version(git: str) -> Iterator[Finding]:
    words = process.run([git, "--version"]).output.split()
    numbers = tuple(int(part) for part in words[2].split(".")[:2]) if len(words) > 2 else ()
    if numbers < (2, 34):
        yield Finding("advice", "git", f"{' '.join(words)} is old", "2.34 and newer are tested")


def _configuration(loaded: config.Loaded) -> Iterator[Finding]:
    if loaded.file is None:
        yield Finding("advice", "configuration", "there is no pinwheel.toml", "pinwheel init")
        return
    yield Finding("good", "configuration", str(loaded.file))
    packaging = loaded.config.packaging
    yield from _native(loaded)
    try:
        targets((), packaging.platforms)
    except UsageError as error:
        yield Finding("fault", error.where, error.problem, error.remedy)
    if packaging.cache:
        yield from _writable(loaded.path(packaging.cache), "packaging.cache")
    for key, name in (("signing_key", packaging.signing_key), ("allowed_signers", packaging.allowed_signers)):
        if name and not loaded.path(name).is_file():
            yield Finding(
                "fault", f"packaging.{key}", f"{loaded.path(name)} does not exist", f"correct packaging.{key}"
            )
    for name, project in loaded.config.projects.items():
        local = "://" not in project.repository and ":" not in project.repository.partition("/")[0]
        if local and not loaded.path(project.repository).is_dir():
            yield Finding(
                "fault",
                f"projects.{name}",
                f"{loaded.path(project.repository)} does not exist",
                f"correct projects.{name}.repository",
            )
        if project.lfs and shutil.which("git-lfs") is None:
            yield Finding("fault", f"projects.{name}.lfs", "git-lfs is not installed", "sudo apt-get install git-lfs")
    for address, table in loaded.config.repositories.items():
        for key in ("deploy_key", "token_file"):
            if named := getattr(table, key):
                yield from _private(loaded.path(named), f'repositories."{address}".{key}')
    for name, application in loaded.config.applications.items():
        released = application.project or name
        if not application.programs:
            yield Finding(
                "fault",
                f"applications.{name}",
                "has no program",
                f"add a table [applications.{name}.programs.web]",
            )
        if loaded.config.projects and released not in loaded.config.projects:
            yield Finding(
                "advice",
                f"applications.{name}",
                f"project {released} is not among [projects]",
                "fine when it is released from elsewhere",
            )


def _exceptions(loaded: config.Loaded) -> Iterator[Finding]:
    """Exceptions from the cool-down that mean nothing, or no longer count."""
    from pinwheel.index.public.cooldown import exemption, expired

    for number, one in enumerate(loaded.config.index.exceptions):
        subject = f"index.exceptions.{number}"
        try:
            late = expired([exemption(one.release, one.reason, one.until, subject)], time.time())
        except PinwheelError as error:
            yield Finding("fault", subject, error.problem, error.remedy)
            continue
        for each in late:
            yield Finding("advice", subject, f"the exception for {each.release} ended on {each.until}", "remove it")


def _index(loaded: config.Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    if not loaded.config.index.url:
        yield Finding("advice", "index", "no address is set", "set index.url or PINWHEEL_INDEX_URL")
        return
    from pinwheel.index.client import from_config

    if loaded.config.index.token_file and not environ.get("PINWHEEL_TOKEN"):
        yield from _private(loaded.path(loaded.config.index.token_file), "index.token_file")
    try:
        client = from_config(loaded)
        client.health()
        client.events(limit=1)
    except PinwheelError as error:
        yield Finding("fault", "index", f"{error.problem} ({error.where})", error.remedy)
    else:
        yield Finding("good", "index", f"{loaded.config.index.url} answers and takes the token")


def _clients(loaded: config.Loaded, start: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Files with a credential that others can read; and, when there is an index, what is asked beside it."""
    from pinwheel.index.installers import faults, files

    def texts(paths: Iterable[Path]) -> list[faults.Text]:
        return [faults.Text(str(file.path), file.text) for file in files.readable(paths)]

    for kept in files.readable(files.with_secrets(environ)):
        if kept.open_to_others and faults.holds_secret(kept.text):
            yield Finding(
                "fault", "clients", f"{kept.path} holds a password and can be read by others", f"chmod 600 {kept.path}"
            )
    base = loaded.config.index.url.rstrip("/").removesuffix("/simple")
    if not base:
        return
    pdm = files.of_pdm(environ)
    default = "".join(faults.stored_pdm_default(each.text) for each in texts([pdm] if pdm else []))
    found = [
        *faults.pip_faults(texts(files.of_pip(environ)), environ, base),
        *faults.uv_faults(texts(files.of_uv(environ)), environ, base),
    ]
    for folder in _repositories(loaded, start):
        for file in texts(files.of_project(folder)):
            found += faults.project_faults(file, base, pdm_default=default)
    for fault in found:
        yield Finding("fault" if fault.grave else "advice", "clients", f"{fault.where}: {fault.problem}", fault.remedy)
    if not found:
        yield Finding("good", "clients", "no client here asks anybody else's index beside the configured one")


def _repositories(loaded: config.Loaded, start: Path) -> list[Path]:
    """The repository around `start`, and the configured ones that lie on this machine."""
    here = next((folder for folder in (start, *start.parents) if (folder / "pyproject.toml").exists()), start)
    local = [loaded.path(each.repository) / each.subdirectory for each in loaded.config.projects.values()]
    return list(dict.fromkeys([here.absolute(), *(folder.absolute() for folder in local if folder.is_dir())]))


def _hosts(loaded: config.Loaded) -> Iterator[Finding]:
    for name, environment in loaded.config.environments.items():
        subject = f"environments.{name}"
        if not environment.hosts and not environment.inventory:
            yield Finding("fault", subject, "has no hosts", f"add a table [{subject}.hosts.NAME]")
        if environment.identity_file:
            yield from _private(loaded.path(environment.identity_file), f"{subject}.identity_file")
        named = [environment.known_hosts] if environment.known_hosts else KNOWN_HOSTS
        if not any(loaded.path(each).is_file() for each in named):
            yield Finding(
                "fault",
                subject,
                f"{loaded.path(named[0])} does not exist, and host keys are always checked",
                f"pinwheel deploy.bootstrap --env {name} --scan-host-keys, and compare the fingerprints",
            )


def _private(file: Path, subject: str) -> Iterator[Finding]:
    """A file that holds a secret must be there and readable by its owner alone."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        yield Finding("fault", subject, f"{file}: {error.strerror}", f"write the file or correct {subject}")
        return
    if stat.S_IMODE(mode) & 0o077:
        yield Finding("fault", subject, f"{file} can be read by others", f"chmod 600 {file}")
    else:
        yield Finding("good", subject, str(file))


def _native(loaded: config.Loaded) -> Iterator[Finding]:
    """What the configuration says of Pythons and of glibc."""
    from pinwheel.packaging.building import linkage

    packaging = loaded.config.packaging
    try:
        linkage.glibc(packaging.oldest_glibc, "")
    except PinwheelError as error:
        yield Finding("fault", "packaging.oldest_glibc", error.problem, error.remedy)
    projects = {f"projects.{name}.pythons": project.pythons for name, project in loaded.config.projects.items()}
    named = {"packaging.python": filter(None, [packaging.python]), "packaging.pythons": packaging.pythons, **projects}
    build: set[str] = set()
    for key, versions in named.items():
        try:
            ordered = oldest_first(versions, "")
        except PinwheelError as error:
            yield Finding("fault", key, error.problem, error.remedy)
        else:
            build.update(ordered if key != "packaging.python" else ())  # which is for locks alone
    yield from _pythons(oldest_first(build, ""))


def _pythons(versions: Iterable[str]) -> Iterator[Finding]:
    """Those that wheels are made by and that are not here; another machine may be the one that builds."""
    from pinwheel.packaging.resolver import PythonMissing, Resolver

    with tempfile.TemporaryDirectory() as folder:
        uv = Resolver("", "", "", Path(folder))  # no index is asked
        for version in versions:
            try:
                uv.python(version, cwd=Path(folder))
            except PythonMissing as error:
                yield Finding("advice", "pythons", error.problem, error.remedy)


def _writable(folder: Path, subject: str) -> Iterator[Finding]:
    """A folder that is there and can be written, or can be made."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding("fault", subject, f"{folder} cannot be written", f"correct {subject}, or the rights of {nearest}")


def _spool(environ: Mapping[str, str]) -> Iterator[Finding]:
    files = list(spools(environ).glob("*/**/*.json"))
    refused = [file for file in files if file.parent.name == REFUSED]
    if waiting := len(files) - len(refused):
        yield Finding(
            "advice",
            "ledger",
            f"{waiting} events wait for the index",
            "they are delivered with the next event that is recorded",
        )
    if refused:
        yield Finding(
            "advice",
            "ledger",
            f"{len(refused)} events cannot be delivered",
            f"look at {refused[0].parent} and remove what you do not need",
        )

"""The architecture as a test: who may import whom, where each big library lives, and the traps of the layout."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from pinwheel.deploy.host.bundle import ERRANDS, TRANSACTION

ROOT = Path(__file__).resolve().parent.parent
PORTIONS = {name: ROOT / name / "pinwheel" for name in ("src", "index", "packaging", "deploy")}

CORE = {
    *("errors", "events", "pin", "ledger", "config", "console", "process", "archive", "tarball", "scaffold"),
    "ci_log",
}
TOP = {"cli", "__main__", "ci_template", "demo", "stage", "doctor"}

STORES = {
    *(
        f"index.store.{name}"
        for name in (
            "records",
            "releases",
            "tokens",
            "leases",
            "event_log",
            "attachments",
            "outbox",
            "tables",
            "statements",
            "database",
        )
    ),
    "index.intake.import_records",
}

FLOORS = {
    "index": ("store", "simple", "public", "policy", "credentials", "intake", "web", "upkeep", "server", "commands"),
    "packaging": (
        *("inspection", "statement", "work", "repositories", "publishing", "proving", "tools", "building", "releasing"),
        *("locking", "commands"),
    ),
    "deploy": ("host", "inventory", "reaching", "planning", "rolling", "showing", "commands"),
}
"""The rooms of a station, from the lowest: each imports only those before it. Beneath them is what stands in none."""

HOMES = {
    "pypiserver": {"index.web.engine"},
    "granian": {"index.server.worker"},
    "sqlalchemy": STORES,
    "prometheus_client": {"index.server.metrics"},
    "multipart": {"index.intake.upload"},
    "bcrypt": {"index.credentials.passwords"},
    "urllib3": {"index.exchange", "index.public.upstream", "deploy.rolling.webhook"},
    "build": {"packaging.building.assemble"},
    "twine": {"packaging.publishing.upload"},
    "requests": {"packaging.publishing.upload"},
    "readme_renderer": {"packaging.inspection.readme"},
    "fabric": {"deploy.reaching.ways"},
    "paramiko": {
        *(f"deploy.reaching.{name}" for name in ("ssh", "ways", "straight", "known_hosts", "ssh_config")),
        *("deploy.lab", "deploy.lab_host"),
    },
    "invoke": {
        *("cli", "packaging.commands", "deploy.commands", "index.commands"),
        *(
            f"deploy.commands.{name}"
            for name in ("options", "ending", "hosts", "rollouts", "looking", "tending", "reading")
        ),
        "deploy.commands.running",
        *(f"index.commands.{name}" for name in ("serving", "tokens", "projects", "clients")),
        *(f"index.commands.{name}" for name in ("folder", "takeover", "verification", "releases")),
        *(
            f"packaging.commands.{name}"
            for name in ("options", "building", "releasing", "locking", "vendoring", "proving")
        ),
    },
    "msgspec": {"config"},
    "rich": {"console", "demo"},
}
"""Each big library, and the modules of pinwheel that may import it."""

NOUNS = {
    *("errors", "events", "pin", "ci_log"),
    *(f"packaging.{name}" for name in ("refs", "manifest", "statement", "targets", "work")),
    *(f"packaging.inspection.{name}" for name in ("findings", "leaks", "rules")),
    *("packaging.proving.proof", "packaging.releasing.graph", "packaging.releasing.plan"),
    *("packaging.locking.lockfile", "packaging.locking.vendored"),
    *("packaging.building.pythons", "packaging.building.comparison", "packaging.building.ingredients"),
    *(
        f"deploy.planning.{name}"
        for name in (
            "facts",
            "fit",
            "lock",
            "plan",
            "making",
            "releases",
            "steps",
            "gate",
            "outcome",
            "waves",
            "wish",
            "resumption",
            "plan_file",
            "readiness",
            "report",
        )
    ),
    *(
        f"deploy.planning.{name}"
        for name in ("restart", "holder", "surplus", "secret_set", "supervisor_file", "health")
    ),
    *("deploy.inventory.fleet", "deploy.inventory.template", "deploy.inventory.settings", "deploy.host.space"),
    "deploy.planning.report",
    *(f"deploy.showing.{name}" for name in ("plans", "outcomes", "reports", "readiness", "keys", "exits")),
    *(f"deploy.showing.{name}" for name in ("status", "story", "holder", "lines", "removals")),
    *(
        f"index.{name}"
        for name in ("entries", "channels", "globs", "policy", "routes", "grants", "answers", "forwarded", "observer")
    ),
    *(f"index.simple.{name}" for name in ("pages", "negotiation")),
    *("index.public.listing", "index.public.cooldown", "index.public.sightings"),
    *("index.store.tables", "index.store.statements"),
    *("index.upkeep.retention", "index.installers.settings", "index.installers.faults"),
}
"""Modules of values and pure functions: no clock, no chance, no file, no network."""

BESIDE_NOUNS = {
    *("config", "archive", "deploy.host.bundle", "deploy.reaching.hosts"),
    *(f"deploy.rolling.{name}" for name in ("unlock", "host_keys", "prune")),
}
"""What nouns may stand on that is none: the schema, readers of bytes, a port, and acts whose results are shown."""

TOUCHES = {"subprocess", "socket", "urllib3", "urllib.request", "requests", "time", "random", "shutil", "os"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of pinwheel by its name below `pinwheel.`, and its file."""
    for portion in PORTIONS.values():
        for file in sorted(portion.rglob("*.py")):
            name = ".".join(file.relative_to(portion).with_suffix("").parts)
            yield name.removesuffix(".__init__"), file


@functools.cache
def imports(file: Path) -> frozenset[str]:
    """Every module that `file` imports, at its top or inside a function, with the names imported from it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def station(module: str) -> str:
    head = module.partition(".")[0]
    return head if head in PORTIONS else "core" if head in CORE else "top"


MODULES = dict(modules())


def internal(name: str) -> frozenset[str]:
    """What this module imports of pinwheel's own."""
    ours = {target.removeprefix("pinwheel.") for target in imports(MODULES[name]) if target.startswith("pinwheel.")}
    return frozenset(ours & MODULES.keys())


def test_every_module_has_a_station() -> None:
    strangers = {name for name in MODULES if station(name) == "top"} - TOP
    assert not strangers, f"say in this test whether these are core or top: {strangers}"


def test_imports_flow_one_way() -> None:
    may = {
        "core": {"core"},
        "index": {"core", "index"},
        "packaging": {"core", "packaging"},
        "deploy": {"core", "deploy", "packaging"},
        "top": {"core", "index", "packaging", "deploy", "top"},
    }
    wrong = [
        f"{name} imports {target}"
        for name in MODULES
        for target in internal(name)
        if station(target) not in may[station(name)] and target not in {"index", "index.client"}
    ]
    assert not wrong


@pytest.mark.parametrize("station_of", sorted(FLOORS))
def test_the_rooms_of_a_station_stand_on_one_another(station_of: str) -> None:
    rooms = FLOORS[station_of]

    def floor(module: str) -> int:
        room = module.split(".")[1]
        return rooms.index(room) if room in rooms else -1

    # what configures other programs stands beside the index and not in it
    inside = {name for name in MODULES if name.startswith(f"{station_of}.") and ".installers" not in name}
    wrong = [
        f"{name} imports {target}"
        for name in sorted(inside)
        for target in internal(name) & inside
        if floor(target) > floor(name)
    ]
    assert not wrong


def test_only_the_client_of_the_index_is_seen_from_outside() -> None:
    outside = [name for name in MODULES if station(name) not in {"index", "top"}]
    assert [
        f"{name} imports {target}" for name in outside for target in internal(name) if target.startswith("index")
    ] == [
        f"{name} imports {target}"
        for name in outside
        for target in internal(name)
        if target in {"index", "index.client"}
    ]


def test_the_core_knows_nothing_of_the_client() -> None:
    assert not [name for name in CORE for target in internal(name) if station(target) != "core"]


def test_nobody_imports_commands_but_the_command_line() -> None:
    users = {name for name in MODULES for target in internal(name) if ".commands" in target}
    assert users <= {"cli", *(name for name in MODULES if ".commands" in name)}


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_big_library_has_one_home(library: str) -> None:
    users = {
        name
        for name, file in MODULES.items()
        if any(target == library or target.startswith(f"{library}.") for target in imports(file))
    }
    assert users <= HOMES[library], f"{library} is used outside its home"


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_a_noun_touches_nothing(noun: str) -> None:
    assert not imports(MODULES[noun]) & TOUCHES


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_a_noun_stands_on_nouns(noun: str) -> None:
    rooms = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    assert not internal(noun) - NOUNS - BESIDE_NOUNS - rooms


def test_every_module_of_planning_and_showing_is_a_noun() -> None:
    """But for who looks on while hosts are at work, which writes to a terminal."""
    quiet = {name for name in MODULES if name.startswith(("deploy.planning.", "deploy.showing."))}
    assert quiet - NOUNS == {"deploy.showing.watch"}


def test_the_demo_is_a_user() -> None:
    allowed = {"stage", "deploy", "deploy.lab", "console", "errors"}
    for name in ("demo", "stage"):
        assert internal(name) <= allowed, f"{name} may import the lab, and what every command speaks with"
        foreign = {target.partition(".")[0] for target in imports(MODULES[name])} - set(sys.stdlib_module_names)
        assert foreign <= {"rich", "pinwheel"}


@pytest.mark.parametrize("module", sorted({*TRANSACTION, *chain(*ERRANDS.values())}))
def test_what_is_sent_to_a_host_needs_only_the_standard_library_and_what_was_sent_before_it(module: str) -> None:
    together = next(errand for errand in ERRANDS.values() if module in (*TRANSACTION, *errand))
    sent = (*TRANSACTION, *together)
    before = {f"pinwheel.deploy.host.{name}" for name in sent[: sent.index(module)]}
    foreign = {
        target
        for target in imports(MODULES[f"deploy.host.{module}"])
        if target.partition(".")[0] not in sys.stdlib_module_names and target.rpartition(".")[0] not in before
    }
    assert foreign <= before


def test_the_launcher_needs_only_the_standard_library() -> None:
    """It lies on the host alone, and runs before every program that has limits or secrets."""
    assert imports(MODULES["deploy.host.launcher"]) <= {*sys.stdlib_module_names, "__future__.annotations"}


def test_a_person_can_read_what_is_trusted_with_root_before_trusting_it() -> None:
    """docs/decisions/0012: the transaction is one file of fewer than 700 lines."""
    assert len(MODULES["deploy.host.runner"].read_text().splitlines()) < 700


def test_the_namespace_has_no_init() -> None:
    assert not [portion for portion in PORTIONS.values() if (portion / "__init__.py").exists()]


def test_nothing_hides_pypas_packaging() -> None:
    assert not (ROOT / "packaging" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))
    for folder in ("index", "packaging", "deploy"):
        assert not list((ROOT / folder).glob("*.py"))
    for start in (["-c"], ["-P", "-c"]):
        said = subprocess.run(
            [sys.executable, *start, "import packaging.version; print(packaging.version.__file__)"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "site-packages" in said


def test_tools_are_started_without_the_working_directory_on_their_path() -> None:
    """`python -m build` in a folder with a `packaging/` would import that: so `-P` stands before every `-m`."""
    mention = {name: text for name, file in MODULES.items() if '"-m"' in (text := file.read_text())}
    assert mention
    for name, text in mention.items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.List | ast.Tuple):
                continue
            words = [one.value if isinstance(one, ast.Constant) else None for one in node.elts]
            runs_python = any(isinstance(one, ast.Attribute) and one.attr == "executable" for one in node.elts)
            if runs_python and "-m" in words:
                assert "-P" in words[: words.index("-m")], f"{name}: line {node.lineno}"


def test_no_module_bears_the_name_of_a_library() -> None:
    locked = {
        line.partition("==")[0].replace("-", "_")
        for line in (ROOT / "ci" / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    mine = {name.rpartition(".")[2] for name in MODULES if "." in name}
    assert not mine & locked
    assert not mine & {"utils", "helpers", "common", "base"}


def test_the_top_level_is_what_the_design_says() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert {path.partition("/")[0] for path in tracked} == {
        *(".ci", ".gitignore", "LICENSE", "README.md", "ci", "deploy", "docs", "examples", "index", "packaging"),
        *("pyproject.toml", "src", "tasks.py", "tests"),
    }


def test_no_lock_with_an_index_address_is_committed() -> None:
    assert "http" not in (ROOT / "ci" / "requirements.lock").read_text()
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/uv.lock" in ignored


def test_invoke_stays_below_three() -> None:
    """fabric 3.2.3 requires invoke<3."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "invoke>=2.2.1,<3" in declared

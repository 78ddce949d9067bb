"""What all tests share."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling, WorkStealingScheduling

HERE = Path(__file__).parent


def pytest_configure() -> None:
    # how long an example takes says something about the machine only
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    # started in the background of a script (`… &`) or by nohup, we would inherit that SIGINT or SIGHUP is ignored, and
    # so would every child to which a test sends one
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


class SharedLabsTogether(LoadScopeScheduling):
    """The tests of a module that shares a lab go to one process, which starts it once; all others to any."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", 1)[0]
        return module if Path(module).name.startswith(("test_promises_", "test_random_faults")) else nodeid


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # the demo, a fresh checkout: what tries all of pinwheel takes longest, and must not be what the others wait for
    items.sort(key=lambda item: item.path.parent != HERE)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | WorkStealingScheduling:
    # the quick run has no labs; neighbours share fixtures, so a process gets those that stand together. xdist's own
    # way for labs, the mark xdist_group, does nothing with this pytest
    return (WorkStealingScheduling if "not root" in config.getoption("markexpr") else SharedLabsTogether)(config, log)

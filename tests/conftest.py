"""What all tests share."""

from __future__ import annotations

import signal

from hypothesis import settings


def pytest_configure() -> None:
    # how long an example takes says something about the machine only
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    # started in the background of a script (`… &`) or by nohup, we would inherit that SIGINT or SIGHUP is ignored, and
    # so would every child to which a test sends one
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)

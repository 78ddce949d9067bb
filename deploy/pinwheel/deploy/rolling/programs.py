"""Programs as operators name them: those of pinwheel.toml, and those of an older release that still runs."""

from __future__ import annotations

from pinwheel.config import Application
from pinwheel.deploy.inventory import settings
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import UsageError


def named(session: Session, application: str, configured: Application, wanted: str) -> str:
    """As `settings.program`; the hosts are asked about one that pinwheel.toml does not have. Raises `UsageError`."""
    try:
        return settings.program(application, configured, wanted)
    except UsageError:
        name = wanted.removeprefix(f"{application}-")
        told = (each for each in session.facts().values() if isinstance(each, HostFacts))
        if any(each.installed(application).has(f"{application}-{name}") for each in told):
            return name
        raise

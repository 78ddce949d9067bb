"""The tasks `packaging.*`: what they are called, what they take, what they print."""

from __future__ import annotations

from invoke import Collection

from pinwheel.packaging.commands.building import build, check
from pinwheel.packaging.commands.locking import lock
from pinwheel.packaging.commands.proving import explain, verify
from pinwheel.packaging.commands.releasing import plan, publish, release
from pinwheel.packaging.commands.vendoring import vendor


def collection() -> Collection:
    """The tasks named `packaging.…`."""
    return Collection("packaging", build, check, publish, release, lock, vendor, plan, explain, verify)

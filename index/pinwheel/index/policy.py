"""What the operator decided, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from pinwheel.archive import Limits
from pinwheel.index.cooldown import Cooldown

LARGEST_FILE_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided. `private` are globs of names that never go upstream, besides all published ones."""

    private: tuple[str, ...] = ()
    cooldown: Cooldown = Cooldown()  # noqa: RUF009 - frozen
    anonymous_read: bool = False
    largest_file_bytes: int = LARGEST_FILE_BYTES
    limits: Limits = Limits()  # noqa: RUF009 - frozen

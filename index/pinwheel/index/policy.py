"""What the operator decided, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from pinwheel.archive import Limits
from pinwheel.index.channels import Channels
from pinwheel.index.forwarded import Network
from pinwheel.index.globs import matching
from pinwheel.index.public.cooldown import Cooldown

LARGEST_FILE_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided.

    `private` are globs of names that never go upstream, besides all published ones; `protected` are globs of names
    that need a credential also with `anonymous_read`. `trusted_proxies` are the networks whose `X-Forwarded-…` counts.
    `cache_bytes` is how much the files of upstreams may take, None for any size.
    """

    private: tuple[str, ...] = ()
    cooldown: Cooldown = Cooldown()  # noqa: RUF009 - frozen
    cache_bytes: int | None = None
    protected: tuple[str, ...] = ()
    anonymous_read: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    largest_file_bytes: int = LARGEST_FILE_BYTES
    channels: Channels = Channels()  # noqa: RUF009 - frozen
    limits: Limits = Limits()  # noqa: RUF009 - frozen

    def open_to_all(self, project: str) -> bool:
        """Whether everybody may read the project of this normalised name."""
        return self.anonymous_read and not matching(project, self.protected)

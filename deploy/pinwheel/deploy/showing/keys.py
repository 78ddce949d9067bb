"""Hosts' keys as people and scripts see them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pinwheel.deploy.reaching.hosts import HostKey
from pinwheel.deploy.rolling.host_keys import Introduced

KINDS = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ssh-dss": "DSA"}
"""What ssh-keygen calls kinds of keys; all others are ECDSA."""


def lines(keys: Mapping[HostKey, Sequence[str]]) -> list[str]:
    """Keys as `ssh-keygen -lf` shows them, with the hosts that are behind each."""
    lines = []
    for key, names in keys.items():
        lines.append(f"{key.bits} {key.fingerprint} {key.name} ({KINDS.get(key.kind, 'ECDSA')})")
        lines.append(f"  for {', '.join(names)}")
    return lines


def document(made: Introduced, environment: str, file: str) -> dict[str, Any]:
    def told(key: HostKey) -> dict[str, Any]:
        about = {"name": key.name, "type": key.kind, "bits": key.bits, "fingerprint": key.fingerprint}
        return {**about, "hosts": list(made.unknown.get(key, ()))}

    return {
        "environment": environment,
        "known_hosts": file,
        "known": list(made.known),
        "added": [told(key) for key in made.added],
        "unknown": [told(key) for key in made.unknown],
        "failed": [
            {"name": name, "reason": error.problem, "remedy": error.remedy} for name, error in made.failed.items()
        ],
    }

"""How much room a release takes. The plan counts before anything is sent, and the host once more before it builds."""

from __future__ import annotations

MIB = 1 << 20

UNPACKED = 4
"""Bytes on disk for each byte of a wheel: unpacked three times as large, and its bytecode."""

RESERVE_BYTES = 16 * MIB
"""What stays free beside a release, so that journals and logs can be written."""


def shortage(wheels_bytes: int, free_bytes: int) -> str:
    """Why there is no room for a release for which wheels of so many bytes are lacking; empty when there is."""
    needed_bytes = UNPACKED * wheels_bytes + RESERVE_BYTES
    if free_bytes >= needed_bytes:
        return ""
    # the one rounded up and the other down, so that they always differ
    return f"{-(-needed_bytes // MIB)} MiB are needed and {free_bytes // MIB} MiB are free"

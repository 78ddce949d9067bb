"""The secrets of an application as one value: what each program gets, under a name that gives nothing away. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pinwheel.config import Application

COST = 1 << 16
"""scrypt's n, with r = 8: each guess takes 64 MiB and a fifth of a second. The name of a set stands in files and plans
that more people may read than the set; a short password must not be found by trying."""


@dataclass(frozen=True, slots=True)
class SecretSet:
    """`id` names these very values, users and names; equal ones have the same in an environment. `names` are all."""

    id: str
    names: tuple[str, ...]
    programs: Mapping[str, Any] = field(repr=False)

    def document(self) -> dict[str, Any]:
        """As it travels to a host, which is on stdin only."""
        return {"id": self.id, "programs": self.programs}


def sealed(environment: str, name: str, application: Application, values: Mapping[str, bytes]) -> SecretSet | None:
    """The set for `application`, which is settled in `environment`; None when no program has secrets.

    One digest over everything, not one for each value: who guesses one must have guessed all the others.
    """
    programs = {
        f"{name}-{key}": {
            "user": program.user,
            "values": {
                secret: {
                    "value": base64.b64encode(values[secret]).decode(),
                    "file": application.secrets[secret].as_file,
                }
                for secret in program.secrets
            },
        }
        for key, program in application.programs.items()
        if program.secrets
    }
    if not programs:
        return None
    salt = f"pinwheel {environment} {name}".encode()
    text = json.dumps(programs, sort_keys=True).encode()
    digest = hashlib.scrypt(text, salt=salt, n=COST, r=8, p=1, maxmem=1 << 28, dklen=8)
    names = sorted({secret for each in programs.values() for secret in each["values"]})
    return SecretSet(digest.hex(), tuple(names), programs)

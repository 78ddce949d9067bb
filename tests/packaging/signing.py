"""SSH keys for tests, and what has to be there to make them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pinwheel.packaging.proving.signatures import Signer

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (openssh-client)")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key in the file `path`, and its public half beside it."""

    path: Path

    @property
    def public(self) -> str:
        """Type and base64, as a file of allowed signers has them."""
        return " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    @property
    def signer(self) -> Signer:
        return Signer(self.path)


def make_key(path: Path, passphrase: str = "") -> Key:
    """A new key."""
    argv = ("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", str(path))
    subprocess.run(argv, check=True, capture_output=True)
    return Key(path)

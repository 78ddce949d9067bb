"""SSH signatures: the one place that runs ssh-keygen, to sign statements and to ask who has signed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pinwheel import process
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging.proving.proof import NAMESPACE, Trusted, Untrusted, fingerprint, key_of
from pinwheel.packaging.statement import Paper

SSH_KEYGEN_S = 60.0  # a key on a token may wait for a touch


class CannotSign(PinwheelError):
    """ssh-keygen does not sign with the key that the configuration names."""


class Signer:
    """Signs with the private key in the file `key`, or, for a public one, with its private key in the agent."""

    def __init__(self, key: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._key = key
        self._environ = environ

    def sign(self, body: bytes) -> bytes:
        """An armoured signature over `body`. Raises `CannotSign`."""
        done = _ssh_keygen(self._environ, "-Y", "sign", "-q", "-f", str(self._key), "-n", NAMESPACE, stdin=body)
        if done.exit_code or not done.output.strip():
            raise CannotSign(
                f"the statement cannot be signed: {process.tail(done.errors, 3) or 'ssh-keygen says nothing'}",
                where=str(self._key),
                remedy="packaging.signing_key must name a key without a passphrase, or the public half (.pub) of one"
                " that ssh-agent holds",
            )
        return done.output.encode()

    def check(self) -> None:
        """Raise `CannotSign` now, rather than after minutes of building."""
        self.sign(b"")


def signer(key: str, environ: Mapping[str, str] = os.environ) -> Signer | None:
    """Who signs with the key at the path `key`; None for no key, and where there is no ssh-keygen."""
    if not key or not installed(environ):
        return None
    return Signer(Path(key), environ)


def installed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether there is an ssh-keygen."""
    return shutil.which("ssh-keygen", path=environ.get("PATH")) is not None


class AllowedSigners:
    """Whom a file in OpenSSH's format allows to sign statements, and from when until when (in UTC)."""

    def __init__(self, file: Path, environ: Mapping[str, str] = os.environ) -> None:
        """Raises `UsageError` when the file cannot be read: nobody must be trusted because of a typing mistake."""
        try:
            self._words = set(file.read_text().split())
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the file of allowed signers cannot be read: {getattr(error, 'strerror', 'it is not text')}",
                where=str(file),
                remedy="correct packaging.allowed_signers, or the file's permissions",
            ) from error
        self._file = file
        self._environ = environ

    def judge(self, paper: Paper, at: datetime) -> Trusted | Untrusted:
        """Whether somebody who was allowed to at the time `at` has signed. Raises `ProgramMissing`."""
        try:
            known_by = fingerprint(paper.signature)
        except ValueError as error:
            return Untrusted(f"its signature cannot be read: {error}")
        # ssh-keygen reads a time without a zone in that of TZ, which is UTC here; older ones know no Z
        when = f"-Overify-time={at.astimezone(UTC):%Y%m%d%H%M%S}"
        with tempfile.TemporaryDirectory(prefix="pinwheel-signature-") as folder:
            signature = Path(folder) / "signature"
            signature.write_bytes(paper.signature)
            given = ("-n", NAMESPACE, "-s", str(signature))
            if self._asked("check-novalidate", *given, stdin=paper.body).exit_code:
                return Untrusted("its statement is not what was signed", known_by)
            found = self._asked("find-principals", "-s", str(signature), "-f", str(self._file), when)
            if found.exit_code:
                if key_of(paper.signature)[1] in self._words:
                    return Untrusted(f"signed by a key that was not allowed at {at:%Y-%m-%d %H:%M:%S} UTC", known_by)
                return Untrusted("signed by an unknown key", known_by)
            # the first of a line's names, when it has several
            name = found.output.split("\n")[0].partition(",")[0].strip()
            asked = ("-f", str(self._file), "-I", name, *given, when)
            if self._asked("verify", *asked, stdin=paper.body).exit_code:
                return Untrusted(f"{name} may not sign statements (namespaces=)", known_by)
        return Trusted(name, known_by)

    def _asked(self, what: str, *words: str, stdin: bytes = b"") -> process.Completed:
        return _ssh_keygen(self._environ, "-Y", what, *words, stdin=stdin)


def _ssh_keygen(environ: Mapping[str, str], *words: str, stdin: bytes) -> process.Completed:
    agent = {"SSH_AUTH_SOCK": environ["SSH_AUTH_SOCK"]} if "SSH_AUTH_SOCK" in environ else {}
    env = process.scrubbed(environ, TZ="UTC", LC_ALL="C", SSH_ASKPASS_REQUIRE="never", **agent)
    return process.run(("ssh-keygen", *words), env=env, stdin=stdin.decode(), timeout_s=SSH_KEYGEN_S)

"""Where the values of secrets come from on the operator's side. They stay in memory; nothing here writes them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from pinwheel.config import Application, Loaded, Secret
from pinwheel.deploy.planning.secret_set import SecretSet, sealed
from pinwheel.errors import UsageError

COMMAND_S = 120.0
"""A password manager may have to ask its user first."""

MOST_BYTES = 128 * 1024 - 1024
"""The kernel takes no longer variable (MAX_ARG_STRLEN, with room for the name)."""


def secret_set(
    loaded: Loaded, environment: str, name: str, application: Application, environ: Mapping[str, str] = os.environ
) -> SecretSet | None:
    """The set for the programs of `application`, which is settled and called `name`; only what they use is read.

    Raises `UsageError`, which never tells a value, nor what a command says.
    """
    wanted = sorted({each for program in application.programs.values() for each in program.secrets})
    values = {
        each: _value(loaded, f"applications.{name}.secrets.{each}", application.secrets[each], environ)
        for each in wanted
    }
    return sealed(environment, name, application, values)


def _value(loaded: Loaded, where: str, secret: Secret, environ: Mapping[str, str]) -> bytes:
    if secret.file:
        source, value = secret.file, _of_file(loaded, where, secret.file)
    elif secret.variable:
        source = secret.variable
        if source not in environ:
            raise _unknown(where, f"the variable {source} is not set", "set it")
        value = os.fsencode(environ[source])
    else:
        source, value = secret.command[0], _of_command(loaded, where, secret.command)
    if not secret.as_file:
        value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise _unknown(where, f"{source} gives an empty one", "correct its source, or take the secret away")
    if not secret.as_file and (b"\0" in value or len(value) > MOST_BYTES):
        raise _unknown(where, f"{source} gives one that no variable can hold", "write as_file = true")
    return value


def _of_file(loaded: Loaded, where: str, text: str) -> bytes:
    file = loaded.path(text)
    try:
        if file.stat().st_mode & 0o077:
            raise _unknown(where, f"others may read {file}", f"chmod 600 {file}")
        return file.read_bytes()
    except OSError as error:
        raise _unknown(where, f"{file} cannot be read: {error.strerror}", "correct it") from error


def _of_command(loaded: Loaded, where: str, argv: tuple[str, ...]) -> bytes:
    program = argv[0]
    try:
        # its stderr is the operator's: it may have something to ask or to explain, which is not for our errors
        ended = subprocess.run(
            argv, cwd=loaded.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        # `from None`: the exception has the output
        raise _unknown(where, f"{program} has not ended within {COMMAND_S:g} s", "run it by hand") from None
    except OSError as error:
        raise _unknown(
            where, f"{program} cannot be run: {error.strerror}", "install it, or correct the name"
        ) from error
    if ended.returncode < 0:
        raise _unknown(where, f"{program} was ended by {signal.Signals(-ended.returncode).name}", "run it by hand")
    if ended.returncode:
        raise _unknown(where, f"{program} ended with exit code {ended.returncode}", "run it by hand")
    return ended.stdout


def _unknown(where: str, why: str, remedy: str) -> UsageError:
    return UsageError(f"the secret is not known: {why}", where=where, remedy=remedy)

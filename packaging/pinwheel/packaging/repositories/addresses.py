"""What a person writes for a repository, as an address that git takes and everybody may see."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pinwheel.errors import UsageError

AUTHORITY = re.compile(r"([^:/?#]*)://([^/?#]*)")
HOST = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
SCP_LIKE = re.compile(r"(?:[^/:@\s]+@)?[^/:\s]+:(?!//).*")


def address(text: str, folder: Path) -> str:
    """The repository's address as git takes it: a URL as it stands, a path (relative to `folder`) made absolute.

    Raises `UsageError` for a URL with a password, or over http(s) with anything before the host: both would show in
    process lists, errors and published statements, and many hosts take a token as the user's name.
    """
    if text.startswith("file://"):
        return unquote(urlsplit(text).path)
    if "://" in text:
        _refuse_credential(text)
        return text
    path = (folder / Path(text).expanduser()).absolute()
    if SCP_LIKE.fullmatch(text) and not path.exists():
        return text
    return os.path.normpath(path)


def beside(base: str, relative: str) -> str:
    """The address that `relative` (`../lib.git`, as in .gitmodules) names from the repository at `base`; another
    address than one that begins with dots stands for itself.

    Raises `UsageError` when it leads out of the host.
    """
    if not relative.startswith(("./", "../")):
        return relative
    url = re.match(r"[^/]*://[^/]*", base)
    start = url.group() if url else base.partition(":")[0] + ":" if not base.startswith("/") else ""
    path = base[len(start) :]
    rooted = posixpath.normpath(posixpath.join(path, relative))
    if rooted.split("/")[0] == "..":
        raise UsageError(
            f"the address {relative} leads out of the host", where=base, remedy="correct it in .gitmodules"
        )
    return start + rooted


def _refuse_credential(url: str) -> None:
    for scheme, authority in AUTHORITY.findall(url):
        user, _, host = authority.rpartition("@")
        by_ssh = scheme.lower().endswith("ssh")  # there the name is an account, most often `git`
        # a port that is no number is the beginning of a credential with a slash in it
        if ":" in user or (user and not by_ssh) or not HOST.fullmatch(host):
            raise UsageError(
                "the repository's address holds a credential",
                where=f"{scheme}://…@{url.rpartition('@')[2]}" if "@" in url else f"{scheme}://…",
                remedy="take out what stands before the host, a token too; name its file under [repositories] in"
                " pinwheel.toml, or let GIT_ASKPASS name a program that prints user and token; or use an ssh address",
            )

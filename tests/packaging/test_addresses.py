"""What may be written for a repository, and what git is told then."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinwheel.errors import UsageError
from pinwheel.packaging.repositories import addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://git@host.example/a.git", "ssh://git@host.example/a.git"),
        ("git+ssh://git@host.example:22/a.git", "git+ssh://git@host.example:22/a.git"),
        ("git@host.example:team/a.git", "git@host.example:team/a.git"),
        ("https://host.example/team@home/a.git", "https://host.example/team@home/a.git"),
        ("https://[::1]:8080/a.git", "https://[::1]:8080/a.git"),
        ("file:///srv/a%20b.git", "/srv/a b.git"),
        ("../a.git", "/etc/a.git"),
        (".", "/etc/acme"),
        ("/srv/a.git/", "/srv/a.git"),
    ],
)
def test_an_address_is_an_url_or_an_absolute_path(text: str, address: str) -> None:
    assert addresses.address(text, Path("/etc/acme")) == address


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@host.example/a.git",
        "https://hunter2@host.example/a.git",
        "HTTP://hunter2@host.example:8080",
        "https://me:hun/ter2@host.example/a.git",
        "https://me:hunter2@odd@host.example/a.git",
        "https::https://hunter2@host.example/a.git",
        "https://hunter2@host.example/a.git?from=https://host.example",
        "ssh://me:hunter2@host.example/a.git",
    ],
)
def test_a_credential_in_an_address_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        addresses.address(text, Path("/"))
    assert "ter2" not in f"{caught.value.problem}{caught.value.where}{caught.value.remedy}"
    assert "host.example" in caught.value.where
    assert "GIT_ASKPASS" in caught.value.remedy

"""`APP==VER`: one version of one application, or wrong usage."""

from __future__ import annotations

import pytest
from packaging.version import Version

from pinwheel import pin
from pinwheel.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("acme-shop==1.0", "acme-shop", "1.0"),
        ("acme-shop==1.0.RC1", "acme-shop", "1.0rc1"),
        ("Acme_Shop == 1!2.0+local", "Acme_Shop", "1!2.0+local"),
    ],
)
def test_a_pin_names_one_version(text: str, name: str, version: str) -> None:
    assert pin.parse(text) == (name, Version(version))


@pytest.mark.parametrize(
    "text",
    [
        *("", "acme-shop", "acme-shop==", "==1", "acme-shop===1", "acme-shop==one", "acme-shop=1", "acme-shop>=1"),
        *("acme-shop==1,==2", "a b", "a b==1", "a[x]==1", "a==1.*", "a==1; python_version>'3'", "../a==1", "-a==1"),
    ],
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        pin.parse(text)
    assert caught.value.where == "APP==VER"
    assert caught.value.remedy

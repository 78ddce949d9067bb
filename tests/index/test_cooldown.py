"""The cool-down: young public files are neither listed nor handed out, and the wait ends by itself."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from tests.index import running
from tests.index.making import sdist, wheel
from tests.index.running import JSON, Upstream, call, make_token, names, run_pinwheel
from tests.index.test_cold_installs import Installer, pip, uv

from pinwheel.errors import UsageError
from pinwheel.index.entries import FileEntry
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.public.cooldown import (
    Cooldown,
    Exempted,
    Exemption,
    HeldBack,
    Offered,
    exemption,
    expired,
    rfc3339,
    verdict,
    visible,
)
from pinwheel.index.public.listing import Listing, UpstreamFile
from pinwheel.index.public.mirror import Mirror, NotOffered
from pinwheel.index.public.sightings import Sighting, document, restored, seen
from pinwheel.index.public.upstream import UpstreamClient
from pinwheel.index.server.assembly import Stored

DAY_S = 86_400.0
T0 = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()


def sighting(version: str = "1.0", *, uploaded: str = "", first_seen: float = T0) -> Sighting:
    entry = FileEntry("p", f"p-{version}.tar.gz", version, "a" * 64, upload_time=uploaded)
    return Sighting(UpstreamFile(entry, "https://h/p.tar.gz"), first_seen)


def exempt(version: str, days_from_t0: int, project: str = "p") -> Exemption:
    until = datetime.date(2026, 6, 1) + datetime.timedelta(days=days_from_t0)
    return Exemption(project, Version(version), "because", until)


VERSIONS = st.sampled_from(["1.0", "1.0.0", "2.0", "3.0"])
SIGHTINGS = st.lists(
    st.builds(
        sighting,
        VERSIONS,
        uploaded=st.one_of(st.just(""), st.floats(T0 - 9 * DAY_S, T0 + 9 * DAY_S).map(rfc3339), st.text(max_size=30)),
        first_seen=st.floats(T0 - 9 * DAY_S, T0 + 9 * DAY_S),
    ),
    max_size=5,
)
RULES = st.builds(
    Cooldown,
    st.floats(0, 9 * DAY_S),
    st.lists(st.builds(exempt, VERSIONS, st.integers(-9, 9), st.sampled_from("ppq")), max_size=4).map(tuple),
)
MOMENTS = st.floats(T0 - 20 * DAY_S, T0 + 20 * DAY_S)


@given(SIGHTINGS, RULES, MOMENTS)
def test_until_the_time_that_it_tells_a_page_stays_as_it_is(found: list[Sighting], rules: Cooldown, now: float) -> None:
    shown, until = visible(found, now, rules)
    judged = [verdict(each, now, rules) for each in found]
    changes = [each.ends_at for each in rules.exemptions]
    changes += [each.until for each in judged if not isinstance(each, Offered)]
    for moment in (each for each in changes if now < each and (until is None or each < until)):
        assert visible(found, moment, rules)[0] == shown
    if until is not None:
        assert until > now
        assert visible(found, until, rules)[0] != shown


@given(SIGHTINGS, RULES, MOMENTS)
def test_what_a_page_shows_is_what_may_be_fetched(found: list[Sighting], rules: Cooldown, now: float) -> None:
    allowed = [each.file.entry for each in found if not isinstance(verdict(each, now, rules), HeldBack)]
    assert list(visible(found, now, rules)[0]) == allowed


@given(SIGHTINGS, RULES, MOMENTS, st.floats(0, 30 * DAY_S))
def test_without_exceptions_what_was_once_offered_stays_offered(
    found: list[Sighting], rules: Cooldown, now: float, later_s: float
) -> None:
    rules = dataclasses.replace(rules, exemptions=())
    assert set(visible(found, now, rules)[0]) <= set(visible(found, now + later_s, rules)[0])


@given(SIGHTINGS, RULES, MOMENTS)
def test_an_exception_lets_its_own_release_pass_and_no_other(
    found: list[Sighting], rules: Cooldown, now: float
) -> None:
    bare = dataclasses.replace(rules, exemptions=())
    for each in found:
        mine = [one for one in rules.exemptions if one.project == each.file.entry.project]
        named = [one for one in mine if one.version == Version(each.file.entry.version)]
        holds = [one for one in named if now < one.ends_at]
        match verdict(each, now, rules):
            case Exempted(until, by):
                assert by in holds
                assert verdict(each, now, bare) == HeldBack(until)
            case other:
                assert other == verdict(each, now, bare)
                assert isinstance(other, Offered) or not holds


def test_a_file_without_a_date_counts_from_when_it_was_first_seen() -> None:
    rules = Cooldown(3 * DAY_S)
    for uploaded in ("", "nonsense", "0001-01-01T00:00:00+23:59", "9999-99-99"):
        judged = verdict(sighting(uploaded=uploaded), T0 + DAY_S, rules)
        assert judged == HeldBack(T0 + 3 * DAY_S) or uploaded.startswith("0001")
    assert verdict(sighting(uploaded="2026-05-20T00:00:00Z"), T0, rules) == Offered()
    assert verdict(sighting(uploaded="2026-05-20T00:00:00"), T0, rules) == Offered()


def test_an_exception_holds_to_the_end_of_its_day() -> None:
    rules = Cooldown(30 * DAY_S, (exempt("1.0", 2),))
    assert isinstance(verdict(sighting(), T0 + 3 * DAY_S - 1, rules), Exempted)
    assert isinstance(verdict(sighting(), T0 + 3 * DAY_S, rules), HeldBack)
    assert expired(rules.exemptions, T0 + 3 * DAY_S) == rules.exemptions
    assert expired(rules.exemptions, T0) == ()


@pytest.mark.parametrize(
    ("release", "reason"), [("p", "x"), ("p==", "x"), ("p==one", "x"), ("p>=1", "x"), ("p==1", " ")]
)
def test_an_exception_names_a_release_and_a_reason(release: str, reason: str) -> None:
    with pytest.raises(UsageError):
        exemption(release, reason, datetime.date(2026, 6, 1), "pinwheel.toml")


def test_a_page_that_comes_again_makes_no_file_older_and_gives_none_another_hash() -> None:
    first = seen(None, Listing((sighting(uploaded="2026-05-31T00:00:00Z").file,)), T0, source="s")
    entry = dataclasses.replace(first.listed[0].file.entry, upload_time="2020-01-01T00:00:00Z", yanked="bad")
    (again,) = seen(first, Listing((UpstreamFile(entry, "https://other/"),)), T0 + 1, source="s").listed
    assert (again.first_seen, again.file.entry.upload_time) == (T0, "2026-05-31T00:00:00Z")
    assert (again.file.entry.yanked, again.file.url) == ("bad", "https://other/")
    for told, kept in ((("c" * 64, "d" * 64), "c" * 64), ((True, "d" * 64), "d" * 64), (("c" * 64, False), "c" * 64)):
        before, after = (Listing((UpstreamFile(entry, "https://h/", metadata),)) for metadata in told)
        (same,) = seen(seen(None, before, T0), after, T0 + 1).listed
        assert same.file.metadata == kept, "the first metadata that were promised count, too"
    changed = dataclasses.replace(entry, sha256="b" * 64)
    (disputed,) = seen(first, Listing((UpstreamFile(changed, "https://evil/"),)), T0 + 1, source="s").listed
    assert (disputed.file, disputed.disputed) == (first.listed[0].file, "b" * 64)


@given(SIGHTINGS)
def test_what_was_seen_is_read_back_as_it_was(found: list[Sighting]) -> None:
    before = seen(None, Listing(tuple(each.file for each in found), "deprecated", "old"), T0, source="s", etag="e")
    assert restored("p", document(before)) == before
    known = seen(before, Listing(()), T0 + 1)
    assert restored("p", document(known)) == known


@pytest.mark.parametrize(
    "nonsense", [None, [], {}, {"format": 1}, {"format": 2, "files": [{}]}, {"format": 2, "files": 5}]
)
def test_what_another_version_wrote_is_not_guessed_at(nonsense: object) -> None:
    with pytest.raises(ValueError, match="this"):
        restored("p", nonsense)


# on pages, files and metadata


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


def mirrored(folder: Path, upstream: Upstream, clock: Clock, *exemptions: Exemption) -> Mirror:
    return Mirror(
        folder / "upstream", UpstreamClient(Upstreams((upstream.url,)), print), Cooldown(3 * DAY_S, exemptions), clock
    )


def listed(mirror: Mirror, project: str) -> bytes:
    page = mirror.page(project)
    assert page is not None
    return page.json.plain


def test_a_young_file_is_neither_listed_nor_served_and_matures_by_itself(tmp_path: Path, upstream: Upstream) -> None:
    """Also without a date, and although the page is only asked whether it has changed."""
    made, clock = wheel("public"), Clock()
    upstream.dated = False
    upstream.etags = True
    upstream.add(made)
    for _ in range(2):  # the second time after a restart: the first sight is remembered
        mirror = mirrored(tmp_path, upstream, clock)
        assert made.filename.encode() not in listed(mirror, "public")
        for asked in (mirror.open, mirror.metadata):
            with pytest.raises(NotOffered, match="2026-06-04"):
                asked(made.filename, made.sha256)
        clock.now += DAY_S
    clock.now = T0 + 3 * DAY_S
    assert made.filename.encode() in listed(mirror, "public")
    assert (mirror.metadata(made.filename, made.sha256) or b"").startswith(b"Metadata-Version")
    file = mirror.open(made.filename, made.sha256)
    assert file is not None
    with file:
        assert file.read() == made.content
    assert not any(path.startswith("/files/") for path in upstream.requests[:-1])


def test_a_file_that_is_here_already_is_held_back_all_the_same(tmp_path: Path, upstream: Upstream) -> None:
    made, clock = wheel("public"), Clock()
    upstream.dated = False
    upstream.add(made)
    exempted = mirrored(
        tmp_path, upstream, clock, Exemption("public", Version("1"), "needed", datetime.date(2026, 6, 1))
    )
    file = exempted.open(made.filename, made.sha256)
    assert file is not None
    file.close()
    clock.now += DAY_S
    for mirror in (exempted, mirrored(tmp_path, upstream, clock)):
        with pytest.raises(NotOffered):
            mirror.open(made.filename, made.sha256)
        assert made.filename.encode() not in listed(mirror, "public")


def test_a_direct_address_of_a_young_file_is_403_and_says_until_when(
    app: Callable[..., Any], index: Stored, upstream: Upstream
) -> None:
    old, young = wheel("public", "1.0"), sdist("public", "2.0")
    upstream.add(old, young)
    upstream.dates[young.filename] = rfc3339(datetime.datetime.now(datetime.UTC).timestamp() - DAY_S)
    token = make_token(index.folder, "t", "read")
    served = app(print, upstreams=Upstreams((upstream.url,)), cooldown=Cooldown(3 * DAY_S))
    assert names(call(served, "GET", "/simple/public/", token, headers=JSON)) == [old.filename]
    for end in ("", ".metadata"):
        reply = call(served, "GET", f"/files/{young.sha256}/{young.filename}{end}", token)
        assert (reply.status, "cool-down until" in reply.text) == (403, True)
        assert "immutable" not in reply.headers.get("cache-control", "")
        assert call(served, "GET", f"/files/{old.sha256}/{old.filename}{end}", token).status == 200


def test_why_tells_what_is_held_back_until_when_and_what_is_exempt(
    app: Callable[..., Any], index: Stored, upstream: Upstream, tmp_path: Path
) -> None:
    first, second = wheel("public", "1.0"), wheel("public", "2.0")
    upstream.add(first, second)
    upstream.dated = False
    served = app(print, upstreams=Upstreams((upstream.url,)), cooldown=Cooldown(3 * DAY_S))
    call(served, "GET", "/simple/public/", make_token(index.folder, "t", "read"))
    (tmp_path / "pinwheel.toml").write_text(
        '[index]\ncooldown = "3d"\n'
        '[[index.exceptions]]\nrelease = "Public==2.0"\nreason = "security fix"\nuntil = 2999-12-01\n'
        '[[index.exceptions]]\nrelease = "public==1.0.0"\nreason = "old"\nuntil = 2020-12-01\n'
    )
    done = run_pinwheel("index.why", "public", "--data", str(index.folder), cwd=tmp_path)
    lines = {
        name: line for line in done.stdout.splitlines() for name in (first.filename, second.filename) if name in line
    }
    assert "held back by the cool-down until 2" in lines[first.filename], done
    assert "until 2999-12-01: security fix" in lines[second.filename]
    assert "expired: the exception for public==1.0.0 ended on 2020-12-01 (old)" in done.stdout


@pytest.mark.parametrize(
    "wrong", ['cooldown = "3 days"', '[[index.exceptions]]\nrelease="a"\nreason="b"\nuntil=2026-01-01']
)
def test_a_rule_that_means_nothing_is_told_before_anything_starts(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "pinwheel.toml").write_text(f"[index]\n{wrong}\n")
    done = run_pinwheel("index.serve", "--port", "0", "--data", str(tmp_path / "data"), cwd=tmp_path)
    assert (done.returncode, "pinwheel.toml: index." in done.stderr, (tmp_path / "data").exists()) == (2, True, False)


@pytest.mark.slow
@pytest.mark.parametrize("install", [pip, uv])
def test_an_installer_takes_the_newest_version_that_is_old_enough(
    upstream: Upstream, tmp_path: Path, install: Installer
) -> None:
    """And a release that must not wait passes by its exception."""
    old, young, urgent = wheel("public", "1.0"), wheel("public", "2.0"), wheel("public", "1.1")
    upstream.add(old, young, urgent)
    today = datetime.datetime.now(datetime.UTC).timestamp()
    upstream.dates.update({young.filename: rfc3339(today - DAY_S), urgent.filename: rfc3339(today - DAY_S)})
    (tmp_path / "pinwheel.toml").write_text(
        '[[index.exceptions]]\nrelease = "public==1.1"\nreason = "fix"\nuntil = 2999-01-01\n'
    )
    flags = ("--upstream", upstream.url, "--cooldown", "3d", "--anonymous-read")
    with running.running(tmp_path / "data", *flags, cwd=tmp_path) as server:
        url = f"{server.url}simple/"
        assert install(url, tmp_path, "public").returncode == 0
        assert (tmp_path / "site" / "public-1.1.dist-info").is_dir()
        assert install(url, tmp_path, "public==2.0").returncode != 0
        by_address = f"public @ {server.url}files/{young.sha256}/{young.filename}"
        assert "403" in install(url, tmp_path, by_address).stderr

"""The page cache: never older than the records, never waiting for what it does not need."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.index.making import new_file, sdist, wheel
from tests.index.running import WITHIN_S

from pinwheel.index.channels import Channels
from pinwheel.index.entries import STATUSES, Act, FileEntry
from pinwheel.index.server.assembly import Stored
from pinwheel.index.simple.page_cache import PageCache

ACT = Act("2024-02-03T04:05:06.000000Z", "tester")


class Watched:
    """Records that count what they are asked, and let something happen once a question is answered."""

    def __init__(self, index: Stored) -> None:
        self._real = index.records
        self.asked: Counter[str] = Counter()
        self.after: dict[str, Callable[..., None]] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)

        def asked(*arguments: Any) -> Any:
            self.asked[name] += 1
            answer = real(*arguments)
            if name in self.after:
                self.after[name](*arguments)
            return answer

        return asked


@pytest.fixture
def records(index: Stored) -> Watched:
    return Watched(index)


@pytest.fixture
def cache(records: Any) -> PageCache:
    return PageCache(records, Channels({"prod": ()}))


def publish(index: Stored, *versions: str, project: str = "acme") -> None:
    for version in versions:
        index.records.publish(new_file(wheel(project, version)))


def test_a_public_name_costs_no_question_to_the_database(index: Stored, records: Watched, cache: PageCache) -> None:
    publish(index, "1.0")
    cache.refresh()
    records.asked.clear()
    for _ in range(10):
        cache.refresh()
        assert not cache.is_private("requests")
        assert cache.project("requests") is None
        assert cache.project("requests", "prod") is None
    assert set(records.asked) == {"state"}


def test_a_public_file_is_looked_up_once_until_something_changes(
    index: Stored, records: Watched, cache: PageCache
) -> None:
    cache.refresh()
    for _ in range(10):
        assert cache.file("acme-1.0-py3-none-any.whl") is None
    assert records.asked["file"] == 1
    publish(index, "1.0")
    cache.refresh()
    assert cache.file("acme-1.0-py3-none-any.whl") is not None


def test_names_and_files_are_known_after_a_change_of_anybody(index: Stored, cache: PageCache) -> None:
    cache.refresh()
    publish(index, "1.0")
    assert not cache.is_private("acme"), "as of the last refresh"
    cache.refresh()
    assert cache.is_private("acme")
    index.releases.remove("acme", "1.0", ACT)
    cache.refresh()
    assert (cache.project("acme"), cache.names(), cache.file("acme-1.0-py3-none-any.whl")) == (None, (), None)
    assert cache.is_private("acme")


def test_a_reserved_name_is_private_at_once(index: Stored, cache: PageCache) -> None:
    cache.refresh()
    index.records.reserve(["acme", "other"], ACT.at)
    cache.refresh()
    assert cache.is_private("acme")
    assert cache.names() == ()


def test_a_change_of_one_project_leaves_the_others_and_the_list_alone(index: Stored, cache: PageCache) -> None:
    publish(index, "1.0")
    publish(index, "1.0", project="other")
    cache.refresh()
    page, root, names = cache.project("other"), cache.root(), cache.names()
    entry = cache.file("other-1.0-py3-none-any.whl")
    before = cache.project("acme")
    publish(index, "2.0")
    index.releases.yank("acme", "1.0", "broken", ACT)
    cache.refresh()
    assert cache.project("other") is page
    assert cache.file("other-1.0-py3-none-any.whl") is entry
    assert (cache.root(), cache.names()) == (root, names)
    assert cache.project("acme") is not before
    publish(index, "1.0", project="third")
    cache.refresh()
    assert cache.names() == ("acme", "other", "third")
    assert b"third" in cache.root().json.plain


def test_a_promotion_changes_the_list_of_its_channel_alone(index: Stored, cache: PageCache) -> None:
    publish(index, "1.0")
    cache.refresh()
    root, channel = cache.root(), cache.root("prod")
    index.releases.promote("acme", "1.0", "prod", ACT)
    cache.refresh()
    assert cache.root() is root
    assert cache.root("prod") is not channel
    assert (cache.names("prod"), cache.names("nowhere")) == (("acme",), ())


def test_of_many_who_ask_for_a_new_page_one_renders_it(index: Stored, records: Watched, cache: PageCache) -> None:
    publish(index, "1.0", "2.0")
    cache.refresh()
    together = threading.Barrier(8)

    def asked(_number: int) -> bytes:
        together.wait(WITHIN_S)
        page = cache.project("acme")
        assert page is not None
        return page.json.plain

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(asked, range(8)))) == 1
    assert records.asked["project"] == 1


def test_nobody_waits_for_the_rendering_of_another_page(index: Stored, records: Watched, cache: PageCache) -> None:
    publish(index, "1.0", project="slow")
    publish(index, "1.0", project="quick")
    cache.refresh()
    begun, go_on = threading.Event(), threading.Event()

    def hold(name: str, *_rest: object) -> None:
        if name == "slow":
            begun.set()
            assert go_on.wait(WITHIN_S)

    records.after["project"] = hold
    slow, quick = cache.project("slow"), cache.project("quick")
    assert slow is not None
    assert quick is not None
    with ThreadPoolExecutor(1) as pool:
        rendering = pool.submit(lambda: slow.html.plain)
        assert begun.wait(WITHIN_S)
        try:
            assert b"quick-1.0" in quick.html.plain
            publish(index, "2.0", project="quick")
            cache.refresh()
            assert cache.file("quick-2.0-py3-none-any.whl") is not None
            assert not rendering.done()
        finally:
            go_on.set()
        assert b"slow-1.0" in rendering.result(WITHIN_S)


def test_what_was_read_before_a_change_is_not_kept_after_it(index: Stored, records: Watched, cache: PageCache) -> None:
    publish(index, "1.0")
    cache.refresh()

    def removed_meanwhile(_filename: str) -> None:
        records.after.clear()
        index.releases.remove("acme", "1.0", ACT)
        cache.refresh()

    records.after["file"] = removed_meanwhile
    assert isinstance(cache.file("acme-1.0-py3-none-any.whl"), FileEntry), "it was there when it was asked for"
    assert cache.file("acme-1.0-py3-none-any.whl") is None


def test_a_file_that_is_published_while_it_is_missed_is_there_afterwards(
    index: Stored, records: Watched, cache: PageCache
) -> None:
    cache.refresh()

    def published_meanwhile(_filename: str) -> None:
        records.after.clear()
        index.records.publish(new_file(sdist("acme", "1.0")))
        cache.refresh()

    records.after["file"] = published_meanwhile
    assert cache.file("acme-1.0.tar.gz") is None
    assert cache.file("acme-1.0.tar.gz") is not None


def test_readers_beside_a_writer_see_each_publication(index: Stored, cache: PageCache) -> None:
    """Whoever refreshes after a publication sees it, however many publish and ask at the same time."""

    def published_and_seen(number: int) -> bool:
        made = wheel(f"many-{number % 3}", f"1.{number}")
        index.records.publish(new_file(made))
        cache.refresh()
        page = cache.project(made.project)
        return page is not None and made.filename.encode() in page.json.plain and cache.file(made.filename) is not None

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(published_and_seen, range(60)))


@pytest.mark.slow
def test_whatever_is_decided_in_any_order_every_page_is_as_if_it_were_made_anew(index: Stored) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    chance, channels = random.Random(seed), Channels({"prod": (), "staging": ("prod",)})
    cache, projects, versions = PageCache(index.records, channels), ("acme", "beta"), ("1.0", "2.0", "3.0")
    decide: list[Callable[[str, str], object]] = [
        lambda project, version: index.records.publish(new_file(wheel(project, version))),
        lambda project, version: index.records.publish(new_file(sdist(project, version))),
        lambda project, version: index.releases.yank(project, version, "broken", ACT),
        lambda project, version: index.releases.unyank(project, version, ACT),
        lambda project, version: index.releases.promote(project, version, chance.choice(("prod", "staging")), ACT),
        lambda project, version: index.releases.demote(project, version, chance.choice(("prod", "staging")), ACT),
        lambda project, version: index.releases.remove(project, version, ACT),
        lambda project, _: index.releases.set_status(project, chance.choice(STATUSES), "", ACT),
        lambda _project, _version: index.records.reserve([chance.choice(("beta", "gamma"))], ACT.at),
    ]
    for _ in range(60):
        chance.choice(decide)(chance.choice(projects), chance.choice(versions))
        cache.refresh()
        assert everything(cache) == everything(PageCache(index.records, channels))


def everything(cache: PageCache) -> list[object]:
    """All that the cache shows."""
    cache.refresh()
    shown: list[object] = []
    for channel in ("main", "prod", "staging"):
        shown += [cache.names(channel), cache.root(channel).json.plain]
        pages = [cache.project(name, channel) for name in ("acme", "beta", "gamma")]
        shown += [page and (page.html.plain, page.json.plain) for page in pages]
    for name, version in itertools.product(("acme", "beta"), ("1.0", "2.0", "3.0")):
        shown += [cache.file(made(name, version).filename) for made in (wheel, sdist)]
    return shown + [cache.is_private(name) for name in ("acme", "beta", "gamma")]

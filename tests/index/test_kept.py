"""An answer counts again only for a request that says the same, until a commit, and never past a token's end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pinwheel.index.answers import Answer
from pinwheel.index.grants import Grant, Principal
from pinwheel.index.web.kept import MOST_KEPT, Kept, KeptAnswers, keep, key_of

PAGE = Answer(200, (("Content-Type", "text/html"),), b"page", lasting=True)
ANYBODY = Principal("anonymous", "anonymous", (Grant("read"),))


def request(**said: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": "/simple/acme/", **said}


def counts(kept: Kept | None) -> bool:
    return kept is not None and time.monotonic() < kept.until


def test_an_answer_counts_again_as_it_was_sent() -> None:
    answers = KeptAnswers(lambda: 1)
    keep(answers.current(), key_of(request()), request(), PAGE, ANYBODY)
    kept = answers.current()[key_of(request())]
    assert counts(kept)
    assert (kept.status, kept.body, kept.principal) == ("200 OK", [b"page"], ANYBODY)
    assert kept.headers == [("Content-Type", "text/html"), ("Content-Length", "4")]


@pytest.mark.parametrize(
    "header",
    [
        {"HTTP_AUTHORIZATION": "Basic eDp5"},
        {"HTTP_ACCEPT": "application/vnd.pypi.simple.v1+json"},
        {"HTTP_ACCEPT_ENCODING": "gzip"},
        {"HTTP_IF_NONE_MATCH": '"etag"'},
        {"QUERY_STRING": "format=json"},
        {"REQUEST_METHOD": "HEAD"},
        {"PATH_INFO": "/simple/other/"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_whoever_says_anything_else_gets_an_answer_of_its_own(header: dict[str, str]) -> None:
    answers = KeptAnswers(lambda: 1)
    keep(answers.current(), key_of(request()), request(), PAGE, ANYBODY)
    assert key_of(request(**header)) not in answers.current()


def test_nothing_that_was_made_before_a_commit_counts_after_it() -> None:
    commits = [object()]
    answers = KeptAnswers(lambda: commits[-1])
    before = answers.current()
    commits.append(object())
    keep(before, key_of(request()), request(), PAGE, ANYBODY)
    assert not answers.current()


def test_a_token_that_has_ended_reads_nothing_from_what_was_kept() -> None:
    answers = KeptAnswers(lambda: 1)
    ended = Principal("ci", "token", (Grant("read"),), expires_at=time.time())
    keep(answers.current(), key_of(request()), request(), PAGE, ended)
    assert not counts(answers.current().get(key_of(request())))


def test_no_number_of_strange_requests_fills_the_memory() -> None:
    answers = KeptAnswers(lambda: 1)
    for number in range(MOST_KEPT + 10):
        said = request(HTTP_ACCEPT=f"text/x-{number}")
        keep(answers.current(), key_of(said), said, PAGE, ANYBODY)
    assert len(answers.current()) <= MOST_KEPT

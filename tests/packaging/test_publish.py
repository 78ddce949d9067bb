"""Publishing again changes nothing; other bytes stop everything; the index's own words are shown."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.packaging.forge import Notebook, Shelf

from pinwheel.index.client import Identity, IndexUnreachable, WrongCredential
from pinwheel.index.grants import Grant
from pinwheel.packaging import statement
from pinwheel.packaging.publishing import papers
from pinwheel.packaging.publishing import publish as station
from pinwheel.packaging.publishing.publish import Answer, Artifact, UploadRefused, publish
from pinwheel.packaging.publishing.upload import twine_to
from pinwheel.packaging.statement import Paper, Provenance, Statement
from pinwheel.packaging.work import Conflict, Published

OURS = Provenance(repository="/srv/acme.git", ref="refs/tags/v1.0", commit="a" * 40, tag="v1.0")
WHEEL, SDIST = "acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"


def artifacts(folder: Path, content: str = "x", provenance: Provenance | None = OURS) -> list[Artifact]:
    folder.mkdir(exist_ok=True)
    made = []
    for name in (WHEEL, SDIST):
        path = folder / name
        path.write_text(content)
        sha256 = station.sha256_of(path)
        body = statement.write(Statement(name, sha256, provenance)) if provenance else b""
        made.append(Artifact(path, "acme", "1.0", sha256, Paper(body, b"signed") if body else None))
    return made


def outcomes(shelf: Shelf, made: list[Artifact]) -> list[tuple[str, str]]:
    return [(each.filename, each.outcome) for each in publish(shelf, shelf.upload, made)]


def test_the_sdist_goes_first_and_each_file_gets_its_statement(tmp_path: Path) -> None:
    shelf = Shelf()
    assert outcomes(shelf, artifacts(tmp_path)) == [(SDIST, "published"), (WHEEL, "published")]
    assert shelf.uploads == [SDIST, WHEEL]
    body = shelf.attachment("acme", "1.0", f"{WHEEL}.statement.json")
    assert body is not None
    assert statement.read(body).provenance == OURS


def test_the_same_bytes_again_are_already_there(tmp_path: Path) -> None:
    shelf = Shelf()
    publish(shelf, shelf.upload, artifacts(tmp_path))
    again = artifacts(tmp_path, provenance=replace(OURS, finished="later"))
    assert outcomes(shelf, again) == [(SDIST, "already there"), (WHEEL, "already there")]
    assert len(shelf.uploads) == 2
    assert {len(stored) for stored in shelf.papers.values()} == {1}


def test_other_bytes_stop_everything_and_both_hashes_and_commits_are_named(tmp_path: Path) -> None:
    shelf = Shelf()
    wheel, _sdist = theirs = artifacts(tmp_path / "theirs", "theirs")
    publish(shelf, shelf.upload, theirs[:1])
    ours = artifacts(tmp_path / "ours", "ours", replace(OURS, commit="b" * 40))
    with pytest.raises(Conflict) as caught:
        publish(shelf, shelf.upload, ours)
    assert shelf.uploads == [WHEEL]
    for part in (wheel.sha256, ours[0].sha256, "a" * 40, "b" * 40):
        assert part in caught.value.where


def test_what_was_cut_off_is_completed(tmp_path: Path) -> None:
    """Killed after the sdist was taken and before its statement was stored."""
    shelf = Shelf()
    made = artifacts(tmp_path)
    shelf.upload(made[1].path)
    assert outcomes(shelf, made) == [(SDIST, "already there"), (WHEEL, "published")]
    assert ("acme", "1.0", f"{SDIST}.statement.json") in shelf.papers


def test_who_loses_a_race_against_the_same_bytes_says_already_there(tmp_path: Path) -> None:
    shelf = Shelf()
    made = artifacts(tmp_path)

    def beaten(path: Path) -> Answer:
        shelf.upload(path)
        return Answer(409, "somebody was faster")

    assert [each.outcome for each in publish(shelf, beaten, made)] == ["already there", "already there"]


def test_who_loses_a_race_against_other_bytes_is_told_so(tmp_path: Path) -> None:
    shelf = Shelf()

    def beaten(path: Path) -> Answer:
        shelf.blobs["acme", path.name] = b"other"
        return Answer(409, "the file exists with other bytes")

    with pytest.raises(Conflict):
        publish(shelf, beaten, artifacts(tmp_path))


def test_an_index_that_takes_a_file_and_does_not_list_it_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(UploadRefused, match="does not list it"):
        publish(Shelf(), lambda _path: Answer(200, ""), artifacts(tmp_path))


def test_the_reasons_of_a_refusal_are_shown(tmp_path: Path) -> None:
    shelf = Shelf(refuse=Answer(400, "the metadata says version 2"))
    with pytest.raises(UploadRefused, match="the metadata says version 2"):
        publish(shelf, shelf.upload, artifacts(tmp_path))
    with pytest.raises(WrongCredential, match="scope"):
        publish(shelf, lambda _path: Answer(403, "lacks the scope upload"), artifacts(tmp_path))


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (Identity("reader", "token", ("read",), (Grant("read"),)), "the token reader may not upload, only read"),
        (Identity("anonymous", "anonymous", ("read",), (Grant("read"),)), "a client without a token may not upload"),
        (
            Identity("web", "token", ("read", "upload"), (Grant("read"), Grant("upload", ("web-*",)))),
            "is not for acme, only for web-*",
        ),
    ],
)
def test_who_may_not_publish_is_told_before_the_first_upload(who: Identity, said: str, tmp_path: Path) -> None:
    shelf = Shelf(who=who)
    with pytest.raises(WrongCredential, match=re.escape(said)) as caught:
        publish(shelf, shelf.upload, artifacts(tmp_path))
    assert caught.value.where == shelf.url
    assert "--scope read,upload" in caught.value.remedy
    assert not shelf.uploads


def test_what_is_there_already_needs_no_right_to_upload(tmp_path: Path) -> None:
    shelf = Shelf()
    publish(shelf, shelf.upload, artifacts(tmp_path))
    shelf.who = replace(shelf.who, scopes=("read",))
    assert {outcome for _name, outcome in outcomes(shelf, artifacts(tmp_path))} == {"already there"}


def test_a_release_is_written_down_once_with_all_its_files(tmp_path: Path) -> None:
    """Cut off after the sdist, completed, and repeated."""
    book, shelf = Notebook(), Shelf()
    made = artifacts(tmp_path)
    shelf.upload(made[1].path)
    for _ in range(2):
        publish(shelf, shelf.upload, made, lambda files: station.record(book, files, made[0], OURS))
    ((kind, subject, about),) = book.entries
    assert (kind, subject, about["version"], about["commit"]) == ("released", "acme", "1.0", "a" * 40)
    assert about["detail"] == {"tag": "v1.0", "files": {WHEEL: made[0].sha256, SDIST: made[1].sha256}}


def test_whoever_is_cut_off_before_telling_leaves_it_to_the_one_who_completes(tmp_path: Path) -> None:
    shelf, made = Shelf(), artifacts(tmp_path)
    told: list[Sequence[Published]] = []

    def killed(_files: Sequence[Published]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        publish(shelf, shelf.upload, made, killed)
    assert papers.paper_of(shelf, "acme", "1.0", WHEEL) is None, "so a plan sees that something is left to do"
    for _ in range(2):
        publish(shelf, shelf.upload, made, told.append)
    ((sdist, wheel),) = told
    assert (sdist.outcome, wheel.outcome) == ("already there", "already there")


def test_two_who_share_a_release_tell_of_one_act(tmp_path: Path) -> None:
    """Each brought one file, with the same bytes."""
    book, made = Notebook(), artifacts(tmp_path)
    for brought in (WHEEL, SDIST):
        ours = [
            Published(each.path.name, each.sha256, "published" if each.path.name == brought else "already there")
            for each in made
        ]
        station.record(book, ours, made[0], OURS)
    one, other = (about["id"] for _kind, _subject, about in book.entries)
    assert one == other
    station.record(book, ours, made[0], replace(OURS, commit="b" * 40))
    assert book.entries[-1][2]["id"] != one


def test_a_statement_that_can_be_seen_has_its_signature(tmp_path: Path) -> None:
    """Of two releases at once, and of one that is cut off between the two documents."""

    class Cut(Shelf):
        def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
            done = super().put_attachment(project, version, name, body)
            if name.endswith(".sig"):
                raise InterruptedError
            return done

    shelf = Cut()
    (wheel, _sdist), late = artifacts(tmp_path), artifacts(tmp_path, provenance=replace(OURS, finished="later"))
    with pytest.raises(InterruptedError):
        publish(shelf, shelf.upload, [wheel])
    assert papers.paper_of(shelf, "acme", "1.0", WHEEL) is None
    whole = Shelf(blobs=shelf.blobs, papers=shelf.papers)
    publish(whole, whole.upload, late[:1])
    assert papers.paper_of(whole, "acme", "1.0", WHEEL) == late[0].paper
    papers.store(whole, "acme", "1.0", WHEEL, wheel.paper or Paper(b""))
    assert papers.paper_of(whole, "acme", "1.0", WHEEL) == late[0].paper


class Gate(http.server.BaseHTTPRequestHandler):
    """Answers every upload with a reason and remembers who asked."""

    seen: list[str] = []  # noqa: RUF012 - one per process is what the test wants
    status, body = 400, b"the index says why"

    def do_POST(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.rfile.read(int(self.headers["Content-Length"]))
        body = self.body
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        pass


@pytest.fixture
def gate() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_twine_hands_on_the_reason_and_prints_nothing(
    gate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINE_PASSWORD", "not this one")
    path = sound_wheel(tmp_path)
    answer = twine_to(gate, "a-token")(path)
    assert answer == Answer(400, "the index says why")
    assert capsys.readouterr() == ("", "")
    assert Gate.seen[-1] == "Basic X190b2tlbl9fOmEtdG9rZW4="


@pytest.mark.parametrize(("status", "tries"), [(507, 1), (503, 5), (403, 1)])
def test_only_a_busy_index_is_asked_again_and_twine_does_not_tell_of_it(
    status: int,
    tries: int,
    gate: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Gate, "status", status)
    monkeypatch.setattr(Gate, "body", b'{"api": 1, "error": "why not"}')
    before = len(Gate.seen)
    assert twine_to(gate, "a-token")(sound_wheel(tmp_path)) == Answer(status, "why not")
    assert len(Gate.seen) - before == tries
    assert capsys.readouterr() == ("", "")


def test_an_index_that_is_away_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(IndexUnreachable) as caught:
        twine_to("http://127.0.0.1:9/", "secret-token")(sound_wheel(tmp_path))
    assert "secret-token" not in str(caught.value)


def sound_wheel(folder: Path) -> Path:
    import zipfile

    path = folder / "acme-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("acme-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        made.writestr("acme-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        made.writestr("acme-1.0.dist-info/RECORD", "")
    return path

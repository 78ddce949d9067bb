"""Events are neither lost nor recorded twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pinwheel.errors import PinwheelError
from pinwheel.events import Event, from_document
from pinwheel.ledger import Ledger, SinkRefused, SinkUnreachable, default_spool


class Index:
    """A sink that can be away; knows events by id, as the real one does."""

    def __init__(self) -> None:
        self.away = False
        self.never: set[str] = set()
        self.events: dict[str, Event] = {}

    def record(self, events: Sequence[Event]) -> None:
        if self.away:
            raise SinkUnreachable("the index is away")
        if self.never & {event.kind for event in events}:
            raise SinkRefused("no such kind")
        self.events |= {event.id: event for event in events}


def test_an_event_reaches_the_index_and_leaves_the_spool(tmp_path: Path) -> None:
    index = Index()
    event = Ledger(index, tmp_path / "spool", "ci").append("published", "acme-greet", version="1.0.0", commit="c0ffee")
    assert index.events == {event.id: event}
    assert not list((tmp_path / "spool").iterdir())


def test_what_was_recorded_while_the_index_was_away_is_delivered_later_in_order(tmp_path: Path) -> None:
    index = Index()
    index.away = True
    ledger = Ledger(index, tmp_path, "ci")
    first = ledger.append("prepared", "acme-shop")
    second = ledger.append("activated", "acme-shop")
    assert not index.events
    index.away = False
    third = Ledger(index, tmp_path, "ci").append("published", "other")
    assert list(index.events) == [first.id, second.id, third.id]
    assert ledger.deliver() == 0


def test_the_spool_is_private(tmp_path: Path) -> None:
    index = Index()
    index.away = True
    Ledger(index, tmp_path / "spool", "ci").append("prepared", "acme-shop")
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_an_event_survives_its_json_form() -> None:
    event = Event("a", "2026-01-01T00:00:00+00:00", "published", "ci", "acme-greet", detail={"sha256": "00"})
    assert from_document(json.loads(json.dumps(event.document()))) == event


@pytest.mark.parametrize(
    "fault", [{"kind": "unheard-of"}, {"id": 7}, {"detail": "text"}], ids=["kind", "type", "detail"]
)
def test_a_malformed_event_is_refused(fault: dict[str, object]) -> None:
    good = Event("a", "now", "published", "ci", "acme-greet").document()
    with pytest.raises(ValueError, match="event"):
        from_document(good | fault)
    del good["subject"]
    with pytest.raises(ValueError, match="subject is missing"):
        from_document(good)


def test_what_another_process_delivered_meanwhile_is_skipped(tmp_path: Path) -> None:
    index = Index()
    index.away = True
    first = Ledger(index, tmp_path, "ci")
    first.append("prepared", "acme-shop")

    class Racing(Index):
        """While this one listens, somebody else empties the spool."""

        def record(self, events: Sequence[Event]) -> None:
            for file in tmp_path.glob("*.json"):
                file.unlink()
            super().record(events)

    racing = Racing()
    (tmp_path / "0-gone.json").symlink_to(tmp_path / "absent")  # listed, and gone when it is read
    assert Ledger(racing, tmp_path, "ci").deliver() == 0
    assert len(racing.events) == 1


def test_an_event_that_is_refused_for_ever_does_not_hold_up_the_others(tmp_path: Path) -> None:
    index = Index()
    index.away = True
    ledger = Ledger(index, tmp_path, "ci")
    for kind in ("prepared", "reverted", "activated"):
        ledger.append(kind, "acme-shop")
    index.away, index.never = False, {"reverted"}
    assert ledger.deliver() == 0
    assert [event.kind for event in index.events.values()] == ["prepared", "activated"]
    assert len(list((tmp_path / "refused").glob("*.json"))) == 1


def test_a_torn_file_in_the_spool_is_put_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0-torn.json").write_text('{"id": "a')
    index = Index()
    Ledger(index, tmp_path, "ci").append("prepared", "acme-shop")
    assert len(index.events) == 1
    assert "put aside" in capsys.readouterr().err


def test_a_credential_that_does_not_suffice_fails_no_act(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Forbidding(Index):
        def record(self, events: Sequence[Event]) -> None:
            raise PinwheelError("the token may not")

    Ledger(Forbidding(), tmp_path, "ci").append("prepared", "acme-shop")
    assert "1 events wait, because the index does not take them: the token may not" in capsys.readouterr().err
    index = Index()
    assert Ledger(index, tmp_path, "ci").deliver() == 0
    assert len(index.events) == 1


def test_a_spool_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = Index()
    Ledger(index, tmp_path / "file" / "spool", "ci").append("prepared", "acme-shop")
    assert len(index.events) == 1


def test_each_index_has_a_spool_of_its_own() -> None:
    environ = {"XDG_STATE_HOME": "/state"}
    one, other = default_spool(environ, "http://a.test/"), default_spool(environ, "http://b.test/")
    assert one != other
    assert one.parent == other.parent == Path("/state/pinwheel/spool")

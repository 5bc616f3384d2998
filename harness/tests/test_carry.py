"""A worker's files reach the master whole whatever is lost on the way, and what is none is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.files import DocumentError
from harness.history import HistoryWriter, Row, RunFolder, Witness, create_run, read_history
from harness.history.take_in import take_in

with pytest.MonkeyPatch.context() as patch:
    # gevent must not take over this process.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    import gevent

    from harness.load import carry
    from harness.load.carry import Carrier
    from harness.load.received import GarbageError, Received

WRITERS = ("load-2", "observer-2")


class Channel:
    """What a worker sends to a master, by ``fate``: it arrives, gets lost, is unanswered, or comes twice."""

    def __init__(self, own: RunFolder, master: RunFolder) -> None:
        self.received = Received(master, WRITERS)
        self.sent: list[dict[str, Any]] = []
        self.fate: list[str] = []
        self.carrier = Carrier(own, master.id, self._send)

    def _send(self, chunk: dict[str, Any]) -> None:
        self.sent.append(chunk)
        fate = self.fate.pop(0) if self.fate else "arrives"
        if fate == "lost":
            return
        answers = [self.received.take(chunk) for _ in range(2 if fate == "twice" else 1)]
        if fate == "unanswered":
            return
        for answer in answers:
            gevent.spawn(self.carrier.answered, answer)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, soon sent again, soon given up."""
    monkeypatch.setattr(carry, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(carry, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(carry, "AGAIN_AFTER_S", 0.02)
    monkeypatch.setattr(carry, "GIVE_UP_S", 0.2)


@pytest.fixture
def master(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "masters", "concurrent-games")


@pytest.fixture
def own(tmp_path: Path, master: RunFolder) -> RunFolder:
    return create_run(tmp_path / "workers", "worker", of_run=master.id)


@pytest.fixture
def history(own: RunFolder, master: RunFolder) -> Iterator[HistoryWriter]:
    with HistoryWriter(own.history, "load-2", master.id, flush_interval_s=60) as writer:
        yield writer


def write(history: HistoryWriter, rows: int) -> None:
    for number in range(rows):
        history.append(Row("resource", "users", f"load-2.{number}", start_ns=number, value=float(number)))
    history.flush()


@pytest.mark.parametrize(
    "fate",
    [
        [],
        ["lost", "arrives", "lost", "lost"],
        ["unanswered", "unanswered", "arrives", "unanswered"],
        ["twice", "arrives", "twice", "twice"],
        ["arrives", "unanswered", "twice", "lost", "twice", "unanswered"],
    ],
)
def test_a_record_is_whole_whatever_is_lost_or_repeated(
    fate: list[str], own: RunFolder, master: RunFolder, history: HistoryWriter
) -> None:
    channel = Channel(own, master)
    channel.fate = fate
    (own.logs / "observer-2.log").write_text("it listened\n", encoding="utf-8")
    for rows in (20, 300):
        write(history, rows)
        gevent.sleep(0.05)
    # What is there so far can be read by whoever follows the run.
    assert 0 < read_history(master.history, of_run=master.id).table.num_rows <= 320
    history.close()
    sizes = channel.carrier.sizes()
    channel.carrier.finish()
    (file,) = read_history(master.history, of_run=master.id).files
    assert (file.writer, file.rows, file.cut_off) == ("load-2", 320, None)
    assert (master.logs / "observer-2.log").read_text(encoding="utf-8") == "it listened\n"
    assert channel.received.missing(sizes, str(own.path)) == []
    assert channel.received.put_aside() == []
    assert max(chunk["length"] for chunk in channel.sent) <= 1000
    assert not own.path.exists(), "nobody needs it any more"


def test_while_the_master_is_away_one_chunk_waits_and_the_rest_is_on_disk(
    own: RunFolder, master: RunFolder, history: HistoryWriter
) -> None:
    channel = Channel(own, master)
    channel.fate = ["lost"] * 1000
    write(history, 300)
    gevent.sleep(0.1)
    assert {(chunk["file"], chunk["at"]) for chunk in channel.sent} == {(f"history/{history.path.name}", 0)}
    channel.fate = []
    history.close()
    channel.carrier.finish()
    assert read_history(master.history).table.num_rows == 300


def test_what_does_not_arrive_is_named_with_the_worker_and_how_much_it_is(
    own: RunFolder, master: RunFolder, history: HistoryWriter
) -> None:
    channel = Channel(own, master)
    channel.fate = ["arrives", *["lost"] * 1000]
    write(history, 300)
    history.close()
    sizes = channel.carrier.sizes()
    channel.carrier.finish()
    (doubt,) = channel.received.missing(sizes, str(own.path))
    assert (doubt.witness, doubt.writer) == (Witness.PLAYERS, "load-2")
    (size,) = sizes.values()
    assert doubt.reason.startswith(f"{size - 1000:,} of {size:,} bytes of load-2's history did not arrive")
    assert str(own.path) in doubt.reason
    # The worker keeps it, and it can be brought later.
    assert take_in(master, own.path) == [history.path.name]
    (file,) = read_history(master.history).files
    assert (file.rows, file.cut_off) == (300, None)
    assert take_in(master, own.path) == [], "once is enough"


def test_how_much_of_a_lost_workers_record_is_missing_is_told(
    own: RunFolder, master: RunFolder, history: HistoryWriter
) -> None:
    channel = Channel(own, master)
    assert channel.received.lost(0) == ""
    channel.fate = ["arrives", *["lost"] * 1000]
    write(history, 300)
    gevent.sleep(0.05)
    channel.carrier.stop()
    heard_ns = channel.received.heard_ns
    assert heard_ns is not None
    size = history.path.stat().st_size
    assert channel.received.lost(heard_ns + 7_000_000_000) == (
        f": nothing of its record came in the last 7.0 s, and {size - 1000:,} bytes of before are missing"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"file": "history/load-1-7.arrow"}, "is no file of its own"),
        ({"file": "../../etc/passwd"}, "is no file of its own"),
        ({"file": "history/load-2-7.arrow/../../x-1.arrow"}, "is no file of its own"),
        ({"file": None}, "can't be read"),
        ({"packed": b"garbage"}, "can't be read"),
        ({"packed": None}, "can't be read"),
        ({"length": 1 << 30}, "make no chunk"),
        ({"at": -5}, "make no chunk"),
        ({"at": "0"}, "can't be read"),
    ],
)
def test_garbage_is_refused_and_touches_no_file(change: dict[str, Any], why: str, master: RunFolder) -> None:
    good = {"run": master.id, "file": "history/load-2-7.arrow", "at": 0, "size": 3, "length": 3}
    good["packed"] = carry.pa.compress(b"abc", codec=carry.CODEC, asbytes=True)
    received = Received(master, WRITERS)
    with pytest.raises(GarbageError, match=why):
        received.take(good | change)
    assert list(master.history.iterdir()) == []
    assert received.take(good) == {"run": master.id, "file": "history/load-2-7.arrow", "have": 3}


def test_what_is_no_history_is_put_aside_so_that_the_others_can_be_judged(master: RunFolder) -> None:
    with HistoryWriter(master.history, "cron", master.id):
        pass
    received = Received(master, WRITERS)
    chunk = {"run": master.id, "file": "history/load-2-7.arrow", "at": 0, "size": 5, "length": 5}
    received.take(chunk | {"packed": carry.pa.compress(b"hello", codec=carry.CODEC, asbytes=True)})
    (doubt,) = received.put_aside()
    assert doubt.witness == Witness.PLAYERS
    assert doubt.reason.startswith("what load-2 sent is no history, and was put aside as logs/load-2-7.arrow")
    assert [file.writer for file in read_history(master.history).files] == ["cron"]


def test_a_record_of_another_run_is_not_taken_in(master: RunFolder, tmp_path: Path) -> None:
    other = create_run(tmp_path / "workers", "worker", of_run="another")
    with pytest.raises(DocumentError, match=f"it is no worker's record of run {master.id}"):
        take_in(master, other.path)
    with pytest.raises(DocumentError, match="no such run"):
        take_in(master, tmp_path / "nowhere")


def test_a_record_that_differs_from_what_is_there_is_not_taken_in(
    own: RunFolder, master: RunFolder, history: HistoryWriter
) -> None:
    write(history, 3)
    (master.history / history.path.name).write_bytes(b"something else")
    with pytest.raises(DocumentError, match="it differs from"):
        take_in(master, own.path)
    assert json.loads((own.path / "run.json").read_text(encoding="utf-8"))["of_run"] == master.id

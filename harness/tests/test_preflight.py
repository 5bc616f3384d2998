"""Before a load, one item is started as the load does it: what is refused then says why, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.observe.looks import TargetUnusable, earlier_runs, look_at_health
from harness.system import System, SystemFileError, find_system
from harness.system.cleaning import CleaningError, clean, leftovers
from harness.target import Action, Target
from harness.tests.helpers import REFERENCE
from harness.tests.http_stub import Request, served
from harness.tests.permitted import permitted
from harness.tests.test_load_options import options
from harness.tests.test_system_find import WHOLE

with pytest.MonkeyPatch.context() as patch:
    # As in the tests of its options: gevent must not take over this process.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    from harness.load.preflight import check_drive

STEPS = """
    def start(self, session, item):
        made = session.insist("POST", "/lots", {"title": item.id}, actor=item.host, expect=(201,), check=lot)
        self.shown = made.body["lot"]

    def health(self):
        return Call("GET", "/healthz")

    def ill(self, status, body):
        if not isinstance(body, dict):
            raise Unreadable("bad answer")
        return None if body["ok"] else "db"

    def clean_up(self, session, prefix):
        gone = session.insist("DELETE", f"/lots?title={prefix}", actor="house").body
        return {"lots": gone["gone"]}

    def leftovers(self, session):
        for lot in session.insist("GET", "/lots", actor="house").body:
            yield lot["title"], datetime.fromisoformat(lot["at"])


def lot(body):
    return None if "lot" in body else "bad answer"
"""
IMPORTS = "from datetime import datetime\nfrom harness.system import Call, Unreadable\n"
MINE, OTHERS = "sw0123abcd-1-1", "swan-lake"
LOTS = [
    {"title": MINE, "at": "2026-01-01T10:00:00+00:00"},
    {"title": OTHERS, "at": "2026-01-01T11:00:00+00:00"},
]

Answer = tuple[int, Any]


class House:
    """Answers as it is told, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {
            "POST /lots": (201, {"lot": 1}),
            "DELETE /lots": (200, {"gone": 1}),
            "GET /lots": (200, LOTS),
            "GET /healthz": (200, {"ok": True}),
        }
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Answer:
        call = f"{request.method} {request.path.partition('?')[0]}"
        self.asked.append(call)
        return self.answers[call]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def target(house: House) -> Iterator[Target]:
    with served(house) as address:
        yield Target(address, "key", "secret", "sub")


@pytest.fixture
def described(tmp_path: Path) -> Callable[..., type[System]]:
    """Write a system's file, changed in one place, and return the system."""

    def write(old: str = "", new: str = "") -> type[System]:
        text = IMPORTS + WHOLE.replace("    def start(self, session, item): ...\n", "") + STEPS
        assert old in text
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}" / "house.py"
        path.parent.mkdir()
        path.write_text(text.replace(old, new), encoding="utf-8")
        return find_system(str(path))

    return write


def drive(target: Target, system: type[System]) -> str | None:
    return check_drive(permitted(target, Action.LOAD), system(target), options("--system", REFERENCE))


def test_an_item_is_started_and_removed(house: House, target: Target, described: Any) -> None:
    assert drive(target, described()) is None
    assert house.asked == ["POST /lots", "DELETE /lots"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"error": "too  short"}), "this target can't be driven: POST /lots answered 400: too short"),
        (
            (401, None),
            "POST /lots answered 401: SUPABASE_SERVICE_ROLE_KEY is not the right one",
        ),
        ((404, "no such page"), "this target can't be driven: POST /lots answered 404"),
    ],
)
def test_the_first_refused_call_says_which_and_why(
    answer: Answer, said: str, house: House, target: Target, described: Any
) -> None:
    house.answers["POST /lots"] = answer
    with pytest.raises(TargetUnusable, match=said):
        drive(target, described())
    assert house.asked == ["POST /lots"], "nothing was made, and nothing is to be removed"


def test_an_answer_that_is_not_as_it_should_be_can_not_be_driven_and_what_it_made_is_removed(
    house: House, target: Target, described: Any
) -> None:
    house.answers["POST /lots"] = (201, {"id": 1})
    with pytest.raises(TargetUnusable, match="answered 201, and not as it should: bad answer: "):
        drive(target, described())
    assert house.asked[-1] == "DELETE /lots"


def test_what_can_not_be_served_just_now_prevents_no_run(
    house: House, target: Target, described: Any
) -> None:
    house.answers["POST /lots"] = (503, {"message": "the pool is empty"})
    assert drive(target, described()) == "POST /lots answered 503: the pool is empty"


def test_a_step_that_raises_is_named_with_its_file_and_line(target: Target, described: Any) -> None:
    system = described('made.body["lot"]', 'made.body["number"]')
    with pytest.raises(SystemFileError, match=r"house\.py:\d+: start: KeyError: 'number'"):
        drive(target, system)


def test_nobody_at_the_address_is_said_with_the_setting(described: Any) -> None:
    nobody = Target("http://127.0.0.1:9", "key", "secret", "sub")
    with pytest.raises(TargetUnusable, match="POST /lots: connection refused; is it up"):
        drive(nobody, described())


# --- looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "ill"), [((200, {"ok": True}), None), ((503, {"ok": False}), "db")])
def test_health_is_read_as_the_system_says(
    answer: Answer, ill: str | None, house: House, target: Target, described: Any
) -> None:
    house.answers["GET /healthz"] = answer
    assert look_at_health(described()(target)) == ill


def test_an_answer_that_is_no_health_report_is_another_address(
    house: House, target: Target, described: Any
) -> None:
    house.answers["GET /healthz"] = (200, "welcome")
    with pytest.raises(TargetUnusable, match="answered 200: welcome, not a health report: this is not the"):
        look_at_health(described()(target))
    house.answers["GET /healthz"] = (200, {"ok": True})
    with pytest.raises(SystemFileError, match=r"house\.py:\d+: ill: KeyError: 'well'"):
        look_at_health(described('body["ok"]', 'body["well"]')(target))


def test_a_system_without_health_is_not_asked(target: Target, house: House, described: Any) -> None:
    steps = STEPS[STEPS.index("    def health") : STEPS.index("    def clean_up")]
    assert look_at_health(described(steps, "")(target)) is None
    assert house.asked == []


def test_runs_that_left_something_are_told_and_a_refused_key_is_named(
    house: House, target: Target, described: Any
) -> None:
    assert earlier_runs(described()(target)) == ["sw0123abcd-"]
    assert earlier_runs(described("def leftovers", "def no_leftovers")(target)) is None
    house.answers["GET /lots"] = (403, None)
    with pytest.raises(TargetUnusable, match="GET /lots answered 403: SUPABASE_SERVICE_ROLE_KEY is not"):
        earlier_runs(described()(target))


# --- cleaning --------------------------------------------------------------------------------------------


def test_what_a_run_made_is_removed_and_found_over_the_api(
    house: House, target: Target, described: Any
) -> None:
    found = leftovers(described()(target))
    assert [(left.prefix, left.counts) for left in found] == [("sw0123abcd-", {"items": 1})]
    cleaned = clean(permitted(target, Action.LOAD), described(), "sw0123abcd-")
    assert (dict(cleaned.removed), cleaned.left) == ({"lots": 1}, None)


def test_a_refused_clean_up_says_how_much_is_left(house: House, target: Target, described: Any) -> None:
    house.answers["DELETE /lots"] = (409, {"error": "sold already"})
    cleaned = clean(permitted(target, Action.LOAD), described(), "sw0123abcd-")
    assert str(cleaned) == (
        "sw0123abcd-: nothing removed; 1 items are left: DELETE /lots answered 409: sold already"
    )


def test_a_system_that_can_not_be_cleaned_says_so(target: Target, described: Any) -> None:
    system = described("def clean_up", "def no_clean_up")
    cleaned = clean(permitted(target, Action.LOAD), system, "sw0123abcd-")
    assert cleaned.left == (
        "what the run made is left: the file of auction has neither clean.sql nor clean_up(session, prefix)"
    )
    with pytest.raises(CleaningError, match=r"its file has no leftovers\(session\)"):
        leftovers(described("def leftovers", "def no_leftovers")(target))


def test_a_clean_up_that_raises_is_named_with_its_line(target: Target, described: Any) -> None:
    system = described('gone["gone"]', 'gone["number"]')
    cleaned = clean(permitted(target, Action.LOAD), system, "sw0123abcd-")
    assert "house.py:" in (cleaned.left or "")
    assert "clean_up: KeyError: 'number'" in (cleaned.left or "")

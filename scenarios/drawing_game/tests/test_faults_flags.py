"""Flags turned in a file that a service reads, and turned back on every way out."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.faults import Deployment, FaultError, MissingPartError, NotExercisedError
from harness.target import Target
from harness.tests.http_stub import Request, served
from harness.tests.permitted import deployment
from scenarios.drawing_game.faults import flags as module
from scenarios.drawing_game.faults.flags import FLAGS, FlagOff

MONITORING, BROADCASTING, _ = FLAGS


def read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[], dict[str, bool]]], str]]:
    """A service that answers for its flags with what it is told to; the value is its address."""
    with ExitStack() as servers:

        def start(flags: Callable[[], dict[str, bool]]) -> str:
            def answer(request: Request) -> tuple[int, Any]:
                known = request.headers["authorization"] == "Bearer key"
                known = known and request.path.endswith("/feature-flags")
                return (200, {"flags": flags()}) if known else (401, {})

            return servers.enter_context(served(answer))

        yield start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.env"


@pytest.fixture
def system(serve, path: Path) -> Deployment:
    """A service that reads its flags file at each question."""
    url = serve(lambda: {name: read(path).get(name, "true") == "true" for name in FLAGS})
    return deployment(target(url, path))


def target(url: str, path: Path | None) -> Target:
    return Target(
        service_url=url,
        service_role_key="key",
        cron_secret="secret",
        pubnub_subscribe_key="sub",
        flags_file=None if path is None else str(path),
    )


def test_the_flag_is_off_while_it_lasts_and_as_before_afterwards(system: Deployment, path: Path) -> None:
    with FlagOff(MONITORING).inject(system):
        assert read(path) == {MONITORING: "false"}
    assert read(path) == {}


def test_what_else_is_in_the_file_stays(system: Deployment, path: Path) -> None:
    before = f"# turned by hand\n{BROADCASTING}=false\nexport {MONITORING} = true\n"
    path.write_text(before, encoding="utf-8")
    with FlagOff(MONITORING).inject(system):
        assert read(path) == {BROADCASTING: "false", MONITORING: "false"}
    assert path.read_text(encoding="utf-8") == before


def test_it_is_turned_back_when_the_block_fails(system: Deployment, path: Path) -> None:
    with pytest.raises(ZeroDivisionError), FlagOff(MONITORING).inject(system):
        raise ZeroDivisionError
    assert read(path) == {}


def test_two_flags_are_turned_back_in_any_order(system: Deployment, path: Path) -> None:
    first, second = FlagOff(MONITORING).applied(system), FlagOff(BROADCASTING).applied(system)
    with first:
        second.__enter__()
    assert read(path) == {BROADCASTING: "false"}
    second.__exit__(None, None, None)
    assert read(path) == {}


def test_a_flag_that_was_off_already_is_not_exercised(system: Deployment, path: Path) -> None:
    path.write_text(f"{MONITORING}=false\n", encoding="utf-8")
    with pytest.raises(NotExercisedError, match="it was off already"), FlagOff(MONITORING).inject(system):
        pass
    assert read(path) == {MONITORING: "false"}


def test_a_service_that_sees_it_late_is_waited_for_both_ways(serve, path: Path) -> None:
    seen: list[str] = []

    def flags() -> dict[str, bool]:
        seen.append(read(path).get(MONITORING, "true"))
        return dict.fromkeys(FLAGS, (seen[-4] if len(seen) > 3 else "true") == "true")

    slow = deployment(target(serve(flags), path))
    with FlagOff(MONITORING).inject(slow):
        asked = len(seen)
        assert seen[-4:] == ["false"] * 4
    assert seen[-4:] == ["true"] * 4
    assert len(seen) == asked + 4


def test_a_service_that_is_down_is_not_waited_for_and_not_exercised(path: Path) -> None:
    gone = deployment(target("http://127.0.0.1:9", path))
    with pytest.raises(NotExercisedError, match="not there to see it"), FlagOff(MONITORING).inject(gone):
        assert read(path) == {MONITORING: "false"}
    assert read(path) == {}


def test_a_service_that_comes_back_meanwhile_has_seen_it(serve, path: Path) -> None:
    away = {"now": True}

    def flags() -> dict[str, bool]:
        return {} if away["now"] else {MONITORING: read(path).get(MONITORING, "true") == "true"}

    with FlagOff(MONITORING).inject(deployment(target(serve(flags), path))):
        away["now"] = False
    assert read(path) == {}


def test_a_service_that_reads_another_file_is_told_and_the_file_restored(
    serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SEEN_LIMIT_S", 0.3)
    deaf = deployment(target(serve(lambda: dict.fromkeys(FLAGS, True)), path))
    with pytest.raises(FaultError, match="still says that it is on; is STORMWATCH_FLAGS_FILE"):
        FlagOff(MONITORING).inject(deaf).__enter__()
    assert read(path) == {}


def test_a_file_that_cannot_be_written_is_named(system: Deployment, tmp_path: Path) -> None:
    gone = deployment(replace(system.target, flags_file=str(tmp_path / "nowhere" / "flags.env")))
    with pytest.raises(FaultError, match=r"can't change .*nowhere"):
        FlagOff(MONITORING).inject(gone).__enter__()


def test_a_target_without_a_flags_file_has_no_such_part(system: Deployment) -> None:
    without = deployment(replace(system.target, flags_file=None))
    with pytest.raises(MissingPartError, match="STORMWATCH_FLAGS_FILE is not set"):
        FlagOff(MONITORING).inject(without).__enter__()
    assert FlagOff.examples(without) == ()
    assert len(FlagOff.examples(system)) == 3


def test_a_service_that_has_no_flags_has_no_such_part(path: Path) -> None:
    with (
        served(lambda _: (404, {})) as url,
        pytest.raises(MissingPartError, match="the service has no flags"),
    ):
        FlagOff(MONITORING).inject(deployment(target(url, path))).__enter__()
    assert read(path) == {}


def test_an_unknown_flag_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(FaultError, match=r"no flag 'ENABLE_MAGIC'; there are ENABLE_TIMER_MONITORING, "):
        FlagOff("ENABLE_MAGIC")

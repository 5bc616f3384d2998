from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.breaker import Breaker, State, backoff_s
from service.tests.support import Clock


@pytest.fixture
def states() -> list[State]:
    return []


@pytest.fixture
async def breaker(clock: Clock, states: list[State]) -> Breaker:
    return Breaker(failures=3, open_s=1.0, open_max_s=4.0, clock=clock, changed=states.append)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.try_enter()
        breaker.failure()


async def test_it_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.success()
    fail(breaker, 2)
    assert breaker.state is State.CLOSED
    fail(breaker, 1)
    assert breaker.state is State.OPEN
    assert not breaker.try_enter()
    assert breaker.retry_after_s > 0


async def test_half_open_lets_one_call_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.3
    assert breaker.try_enter()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.try_enter()


async def test_a_success_closes_it(breaker: Breaker, clock: Clock, states: list[State]) -> None:
    fail(breaker, 3)
    clock.now += 1.3
    assert breaker.try_enter()
    breaker.success()
    assert states == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    assert breaker.try_enter()


async def test_each_failed_probe_doubles_the_pause_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    for expected_s in (2.0, 4.0, 4.0):
        clock.now += 10
        assert breaker.try_enter()
        breaker.failure()
        assert expected_s <= breaker.retry_after_s <= expected_s * 1.2


async def test_a_probe_that_was_cancelled_leaves_its_place_to_the_next(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now += 1.3
    assert breaker.try_enter()
    breaker.leave()
    assert breaker.try_enter()


async def test_a_failure_that_says_for_how_long_opens_it_at_once_and_for_so_long(
    breaker: Breaker, clock: Clock
) -> None:
    assert breaker.try_enter()
    breaker.failure(retry_after_s=7.0)
    assert breaker.state is State.OPEN
    assert breaker.retry_after_s == 7.0
    clock.now += 6.9
    assert not breaker.try_enter()
    clock.now += 0.1
    assert breaker.try_enter()
    assert breaker.state is State.HALF_OPEN


async def test_calls_that_were_under_way_when_it_was_told_to_wait_do_not_shorten_that(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.failure(retry_after_s=7.0)
    breaker.success()
    assert breaker.state is State.OPEN
    breaker.failure(retry_after_s=2.0)
    breaker.failure()
    assert breaker.retry_after_s == 7.0
    breaker.failure(retry_after_s=9.0)
    assert breaker.retry_after_s == 9.0
    clock.now += 9.0
    breaker.success()
    assert breaker.state is State.CLOSED


async def test_what_it_is_told_to_wait_is_a_floor_under_its_own_pause(breaker: Breaker, clock: Clock) -> None:
    breaker.failure(retry_after_s=0.5)
    assert 1.0 <= breaker.retry_after_s <= 1.2
    clock.now += 1.2
    assert breaker.try_enter()
    breaker.failure(retry_after_s=0.5)
    assert 2.0 <= breaker.retry_after_s <= 2.4


async def test_waiting_calls_pass_when_it_closes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    waiting = asyncio.create_task(breaker.enter())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    breaker.success()
    async with asyncio.timeout(5):
        await waiting


@given(st.integers(1, 10_000))
def test_backoff_stays_within_its_limits(attempt: int) -> None:
    assert 0.0 <= backoff_s(attempt) <= min(5.0, 0.1 * 2 ** min(attempt - 1, 30))

"""What a publish that failed says, against the emulator."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from service.breaker import Breaker
from service.metrics import Metrics
from service.publisher import Publisher, PublishError, retry_after_s
from service.settings import load_settings
from service.tests.support import PubNub, base_environment, name

NOW = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("0.5", 0.5),
        ("61", 60),
        ("9" * 5000, 60),
        ("Thu, 01 May 2031 12:00:07 GMT", 7),
        ("Thursday, 01-May-31 12:00:07 GMT", 7),
        ("Thu May  1 12:00:07 2031", 7),
        ("Thu, 01 May 2031 13:00:00 GMT", 60),
        ("Thu, 01 May 2031 11:59:59 GMT", 0),
        ("Thu, 99 May 2031 12:00:07 GMT", 0),
        ("Thu, 01 May 2031 12:00:07 +9999999999999", 0),
        ("", 0),
        ("-7", 0),
        ("1e3", 0),
        ("inf", 0),
        ("7 s", 0),
        ("٧", 0),
        ("soon", 0),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_and_nonsense_asks_for_nothing(value: str, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "asked_s", "heeded_s"),
    [(429, 2, 2), (503, 7, 7), (429, 3600, 60), (503, None, 0), (500, 2, 0), (403, 2, 0)],
)
async def test_a_refused_publish_says_when_pubnub_will_have_us_again(
    emulator: EmulatorProcess, pubnub: PubNub, status: int, asked_s: float | None, heeded_s: float
) -> None:
    environment = base_environment("postgresql://u:p@127.0.0.1/d", emulator.url)
    settings = load_settings(**{key.lower(): value for key, value in environment.items()})
    publisher = Publisher(settings, Breaker(failures=10, open_s=0.1, open_max_s=0.1), Metrics())
    pubnub.break_("status", status=status, operations=["publish"], retry_after_s=asked_s)
    await publisher.open()
    try:
        with pytest.raises(PublishError, match=f"http {status}") as caught:
            await publisher.publish(name(), {})
    finally:
        await publisher.close()
    assert caught.value.retry_after_s == heeded_s
    assert publisher.breaker.retry_after_s == pytest.approx(heeded_s, abs=1.0)

from __future__ import annotations

import pytest

from service.settings import SettingsError, load_settings, parse_duration, parse_schedule
from service.tests.support import base_environment

COMPLETE = base_environment("postgresql://u:pw-very-secret@127.0.0.1:5432/d", "http://127.0.0.1:9", 8000)
REQUIRED = (
    "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "CRON_SECRET", "DATABASE_URL", "PUBNUB_PUBLISH_KEY",
    "PUBNUB_SUBSCRIBE_KEY",
)  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def test_all_missing_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert set(str(raised.value).splitlines()) == {f"{name} is not set" for name in REQUIRED}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_URL", "localhost:8000"),
        ("SUPABASE_URL", "ftp://x"),
        ("PUBNUB_ORIGIN", "127.0.0.1:8090"),
        ("PUBNUB_ORIGIN", "http://127.0.0.1:port"),
        ("DATABASE_URL", "mysql://root@127.0.0.1/d"),
        ("SUPABASE_SERVICE_ROLE_KEY", " "),
        ("CRON_SECRET", ""),
        ("PUBNUB_PUBLISH_KEY", "a/b"),
        ("LOG_LEVEL", "LOUD"),
        ("ENVIRONMENT", "no spaces"),
        ("PORT", "70000"),
        ("PORT", "http"),
        ("ENABLE_GRACE_PERIOD", "perhaps"),
        ("SCHEDULE", "*/0 * * * * *"),
        ("SCHEDULE", "every day"),
        ("GRACE_PERIOD", "15"),
        ("GRACE_PERIOD", "0s"),
        ("POOL_SIZE", "0"),
        ("SLACK_WEBHOOK_URL", "not-an-address"),
    ],
)
def test_a_malformed_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(name)
    assert "\n" not in str(raised.value)


def test_values_of_secrets_are_not_shown_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "nonsense-with-pw-very-secret")
    monkeypatch.setenv("PUBNUB_PUBLISH_KEY", "pw very secret")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "secret" not in str(raised.value)


def test_settings_know_their_secrets_and_do_not_print_them() -> None:
    settings = load_settings()
    assert {"pw-very-secret", COMPLETE["CRON_SECRET"]} <= set(settings.secrets())
    assert not [secret for secret in settings.secrets() if secret in repr(settings)]


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("10s", 10), ("5m", 300), ("1.5h", 5400)])
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["*/10 * * * * *", "*/10"])
def test_schedules_are_steps_of_seconds(text: str) -> None:
    assert parse_schedule(text) == 10

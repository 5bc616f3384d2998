"""A user's name and password in an address are refused, and written nowhere."""

from __future__ import annotations

import pytest

from harness.commands import doctor
from harness.observe.secrets import secrets_of
from harness.target import Target, TargetError

KEYS = {
    "SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_SERVICE_ROLE_KEY": "role", "CRON_SECRET": "cron-key",
    "PUBNUB_SUBSCRIBE_KEY": "sub", "PUBNUB_PUBLISH_KEY": "pub-key",
}  # fmt: skip
NAMES = ("SUPABASE_URL", "PUBNUB_ORIGIN", "STORMWATCH_TOXIPROXY_URL", "STORMWATCH_PUBNUB_CONTROL_URL")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "address",
    ["https://me:hunter2@host", "https://hunter2@host", "ftp://me:hunter2@host", "//me:hun/ter2@host"],
)
def test_credentials_in_an_address_are_refused_without_being_told(name: str, address: str) -> None:
    with pytest.raises(TargetError, match=name) as refused:
        Target.from_environment(KEYS | {name: address})
    assert "take them out" in str(refused.value)
    assert "ter2" not in str(refused.value)


def test_so_are_those_of_an_option() -> None:
    with pytest.raises(TargetError, match="take them out"):
        Target.from_environment(KEYS, host="https://me:hunter2@host")


def test_doctor_tells_of_them_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (KEYS | {"PUBNUB_ORIGIN": "https://me:hunter2@host"}).items():
        monkeypatch.setenv(name, value)
    found = doctor._pubnub()
    assert (found.works, "take them out" in found.note) == (False, True)
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "address", ["postgresql://me:p%40ss@host/db", "postgresql://host/db?user=me&password=p%40ss"]
)
def test_the_search_for_secrets_knows_a_databases_password_in_each_form(address: str) -> None:
    target = Target.from_environment(KEYS | {"DATABASE_URL": address})
    assert {b"p@ss", b"p%40ss"} <= secrets_of(target)
    assert "ss@" not in repr(target)

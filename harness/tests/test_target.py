"""A target is read from the environment, names what is missing and keeps its secrets to itself."""

import pytest

from harness.target import Target, TargetError

WHOLE = {
    "SUPABASE_URL": "https://staging.example",
    "SUPABASE_SERVICE_ROLE_KEY": "role-key-s3cret",
    "CRON_SECRET": "cron-s3cret",
    "PUBNUB_PUBLISH_KEY": "pub-s3cret",
    "PUBNUB_SUBSCRIBE_KEY": "sub-c-1",
    "DATABASE_URL": "postgresql://app:db-s3cret@db.example/app",
}


def test_reads_the_requirements_names() -> None:
    target = Target.from_environment(WHOLE)
    assert target.service_url == "https://staging.example"
    assert target.cron_secret == "cron-s3cret"
    assert target.pubnub_ssl
    assert target.pubnub_host("player-1") == "ps.pndsn.com"


def test_a_host_overrides_the_environment() -> None:
    assert Target.from_environment(WHOLE, host="http://127.0.0.1:9/").service_url == "http://127.0.0.1:9"


def test_an_address_is_all_that_every_system_needs() -> None:
    with pytest.raises(TargetError, match="not set: SUPABASE_URL; "):
        Target.from_environment({})
    target = Target.from_environment({"SUPABASE_URL": "http://127.0.0.1:9"})
    # Nobody is sent an empty key.
    assert (target.keys, target.authorization, target.secrets()) == ({}, {}, [])


@pytest.mark.parametrize(
    "bad",
    ["127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://host:99999", "http://[::1"],
)
def test_refuses_an_address_that_is_none(bad: str) -> None:
    with pytest.raises(TargetError, match="SUPABASE_URL"):
        Target.from_environment({**WHOLE, "SUPABASE_URL": bad})


def test_secrets_stay_out_of_repr_and_of_the_public_part() -> None:
    target = Target.from_environment(WHOLE)
    shown = repr(target) + repr(target.public())
    assert len(target.secrets()) == 5
    for secret in target.secrets():
        assert secret not in shown
    assert "s3cret" not in shown


def test_survives_the_way_through_an_environment() -> None:
    target = Target.from_environment(WHOLE)
    assert Target.from_environment(target.environment()) == target

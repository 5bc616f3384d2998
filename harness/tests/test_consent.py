"""The guard: nothing is done to a deployment that nobody named for it, and nobody comes past it."""

import socket
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from harness.faults import Deployment
from harness.system import find_system
from harness.system.cleaning import CleaningError, clean
from harness.target import Action, ConsentError, Permission, Target
from harness.target.consent import ask, handed_over, of_own_stack
from harness.tests.permitted import permitted

STAGING = Target("https://staging.example", "key", "secret", "sub")
LOAD = "STORMWATCH_MAY_LOAD"
BREAK = "STORMWATCH_MAY_BREAK"


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Name -> addresses, as the network would tell."""
    known = {
        "staging.example": ["203.0.113.7"],
        "db.example": ["203.0.113.8"],
        "many.example": ["203.0.113.1", "203.0.113.2"],
    }

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def asked(target: Target, *actions: Action, typed: str | None = None, **settings: str) -> Permission:
    """Ask for consent that stands in ``settings``, or is ``typed`` at a terminal."""
    prompt = (lambda _: typed) if typed is not None else (lambda _: "")
    return ask(target, actions, environment=settings, say=lambda _: None, prompt=prompt)


def test_consent_is_bound_to_the_address() -> None:
    assert Action.LOAD in asked(STAGING, Action.LOAD, **{LOAD: "staging.example"})
    assert Action.LOAD in asked(STAGING, Action.LOAD, **{LOAD: "other.example, https://Staging.Example/"})
    for elsewhere in ("production.example", "staging.example.evil", "example", "staging.example:8443", ""):
        with pytest.raises(ConsentError, match=f"set {LOAD}=staging.example if that is meant, or"):
            asked(STAGING, Action.LOAD, **{LOAD: elsewhere})


def test_a_port_that_is_not_the_usual_one_has_to_be_named() -> None:
    target = replace(STAGING, service_url="https://staging.example:8443")
    with pytest.raises(ConsentError, match=f"{LOAD}=staging.example:8443"):
        asked(target, Action.LOAD, **{LOAD: "staging.example"})
    assert asked(target, Action.LOAD, **{LOAD: "staging.example:8443"}).target == target


@pytest.mark.parametrize("word", ["yes", "1", "true", "*", "staging.example yes"])
def test_a_plain_yes_is_refused_with_what_to_say_instead(word: str) -> None:
    with pytest.raises(ConsentError, match=f"{LOAD}='.*' names no address; set {LOAD}=staging.example"):
        asked(STAGING, Action.LOAD, **{LOAD: word})


def test_consent_to_one_thing_is_none_to_another() -> None:
    with pytest.raises(ConsentError, match=f"may not be broken: set {BREAK}=staging.example"):
        asked(STAGING, Action.LOAD, Action.BREAK, **{LOAD: "staging.example"})
    permission = asked(STAGING, Action.LOAD, **{LOAD: "staging.example"})
    assert Action.TICK not in permission
    with pytest.raises(ConsentError, match="may not be broken"):
        Deployment(permission, find_system())
    with pytest.raises(ConsentError, match="may not be ticked"):
        permission.require(Action.TICK)
    with pytest.raises(ConsentError, match="may not be loaded"):
        clean(asked(STAGING, Action.BREAK, **{BREAK: "staging.example"}), find_system(), "sw01234567-")


def test_what_is_broken_besides_the_service_is_named_too() -> None:
    target = replace(STAGING, database_url="postgresql://u:s3cret@db.example/x")
    with pytest.raises(ConsentError, match=f"set {BREAK}=staging.example,db.example if") as refused:
        asked(target, Action.BREAK, **{BREAK: "staging.example"})
    assert "s3cret" not in str(refused.value)
    assert Action.BREAK in asked(target, Action.BREAK, **{BREAK: "staging.example db.example"})
    # A run removes its games there.
    with pytest.raises(ConsentError, match=f"set {LOAD}=staging.example,db.example if"):
        asked(target, Action.LOAD, **{LOAD: "staging.example"})


@pytest.mark.parametrize("url", ["postgresql:///x?host=db.example", "postgresql://a.example,b.example/x"])
def test_an_address_that_names_no_one_host_can_not_be_consented_to(url: str) -> None:
    with pytest.raises(ConsentError, match="does not name one host"):
        asked(replace(STAGING, database_url=url), Action.BREAK, **{BREAK: "staging.example"})


def test_the_address_typed_at_a_terminal_is_consent_for_this_time() -> None:
    assert Action.LOAD in asked(STAGING, Action.LOAD, typed="staging.example")
    for typed in ("yes", "y", "", "staging", "STAGING.EXAMPLE:443"):
        with pytest.raises(ConsentError):
            asked(STAGING, Action.LOAD, typed=typed)


def test_a_name_that_leads_to_several_addresses_wants_all_of_them_named() -> None:
    target = replace(STAGING, service_url="https://many.example")
    wanted = f"{LOAD}=many.example,203.0.113.1,203.0.113.2"
    with pytest.raises(ConsentError, match=f"many.example leads to 2 addresses.*set {wanted}"):
        asked(target, Action.LOAD, **{LOAD: "many.example"})
    permission = asked(target, Action.LOAD, **dict([wanted.split("=")]))
    # What another process of the run is handed is enough there.
    assert Action.LOAD in handed_over(permission.environment())


def test_a_name_that_can_not_be_resolved_is_refused() -> None:
    target = replace(STAGING, service_url="https://nowhere.example")
    with pytest.raises(ConsentError, match=r"nowhere\.example can't be resolved"):
        asked(target, Action.LOAD, **{LOAD: "nowhere.example"})


def test_a_name_that_leads_elsewhere_meanwhile_is_noticed(names: dict[str, list[str]]) -> None:
    permission = asked(STAGING, Action.LOAD, **{LOAD: "staging.example"})
    assert permission.moved() is None
    names["staging.example"] = ["203.0.113.99"]
    assert permission.moved() == (
        "staging.example leads to 203.0.113.99 now, and to 203.0.113.7 when consent was given"
    )
    del names["staging.example"]
    assert permission.moved() is None, "a resolver that is silent for a moment tells nothing"


def test_it_is_told_what_will_be_done_where_before_consent_is_looked_for() -> None:
    said: list[str] = []
    with pytest.raises(ConsentError):
        ask(STAGING, [Action.LOAD], ["3 games"], environment={}, say=said.append, prompt=lambda _: "")
    assert said == ["staging.example (203.0.113.7) is about to be loaded:", "  3 games"]
    said.clear()
    here = replace(STAGING, service_url="http://127.0.0.1:5432")
    with pytest.raises(ConsentError):
        ask(here, [Action.LOAD], environment={}, say=said.append, prompt=lambda _: "")
    assert "may be the end of a tunnel: that can't be known from here" in said[-1]


def test_nobody_makes_a_permission_but_the_guard() -> None:
    with pytest.raises(TypeError, match="given by the guard"):
        Permission(STAGING, [Action.BREAK], own=True, resolved={}, guard=object())

    class Pretender:
        target = STAGING
        parts: Mapping[str, object] = MappingProxyType({})

    with pytest.raises(ConsentError, match="no stack of ours"):
        of_own_stack(Pretender())


def test_what_a_child_is_handed_names_nothing_that_its_parent_had_in_its_environment() -> None:
    environment = permitted(STAGING, Action.LOAD).environment()
    assert environment["DATABASE_URL"] == environment["STORMWATCH_MAY_BREAK"] == ""
    assert handed_over(environment).actions == {Action.LOAD}


@pytest.mark.parametrize("prefix", ["", "sw", "game-", "sw0123456-", "sw01234567-%", "SW01234567-"])
def test_only_what_a_run_has_marked_can_be_removed(prefix: str) -> None:
    with pytest.raises(CleaningError, match="no prefix of a run"):
        clean(permitted(STAGING, Action.LOAD), find_system(), prefix)

"""The guard: what may be done to a system that is not a stack of ours.

Whatever loads, breaks, ticks, mends or cleans takes a :class:`Permission`, and only this module makes one:
for a stack whose processes we started, which may be loaded and broken at will, or for a deployment, after its
address and what will be done there were told and consent was found that names that very address.

Consent is a setting (``STORMWATCH_MAY_LOAD=staging.example``) and lasts as long as the setting does, or it is
the address typed at a terminal and lasts for that run.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import urlsplit

from harness.target.address import ENVIRONMENT, Target, is_loopback, is_number

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
#: What people set who want to be let through without a name.
_NO_ADDRESS: Final = frozenset({"yes", "y", "true", "on", "1", "all", "*", "any"})


class ConsentError(Exception):
    """Nobody consented to what was about to be done; one line names the address and the setting."""


class Action(StrEnum):
    """What can be done to a system that changes it or its users' day."""

    #: Items are made and played: rows are written, events are sent.
    LOAD = "load"
    #: Faults are injected and undone.
    BREAK = "break"
    #: Timers are fired, those of other people's items among them.
    TICK = "tick"
    #: A watch is put on a table of its database, and taken away again.
    WATCH = "watch"

    @property
    def setting(self) -> str:
        """The environment variable that consents to it."""
        return f"STORMWATCH_MAY_{self.name}"

    @property
    def passive(self) -> str:
        """What it is to have it done: ``may not be broken``."""
        return {"LOAD": "loaded", "BREAK": "broken", "TICK": "ticked", "WATCH": "watched"}[self.name]


class OwnStack(Protocol):
    """A stack whose processes this user's Stormwatch started."""

    @property
    def target(self) -> Target: ...

    @property
    def parts(self) -> Mapping[str, object]: ...


@dataclass(frozen=True)
class _Address:
    """Where a part of a target is: its host and port."""

    host: str
    port: int
    #: As consent names it: the port only where the scheme does not imply it.
    name: str

    @classmethod
    def of(cls, url: str) -> _Address:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            host, port = "", None
        if not host or "," in host:
            raise ConsentError(
                f"an address of the target ({url.rpartition('@')[2]}) does not name one host: "
                "consent can't name it either"
            )
        usual = _DEFAULT_PORTS.get(parts.scheme, 0)
        port = port or usual
        shown = f"[{host}]" if ":" in host else host
        return cls(host, port, shown if port == usual else f"{shown}:{port}")


class Permission:
    """What may be done to a target. Made by :func:`ask` and :func:`of_own_stack` alone.

    Attributes
    ----------
    target : the system.
    actions : what may be done to it.
    own : whether it is a stack of ours.
    """

    def __init__(
        self,
        target: Target,
        actions: Collection[Action],
        *,
        own: bool,
        resolved: Mapping[str, frozenset[str]],
        guard: object,
    ) -> None:
        if guard is not _GUARD:
            raise TypeError("a permission is given by the guard: harness.target.consent.ask")
        self.target = target
        self.actions = frozenset(actions)
        self.own = own
        self._resolved = resolved

    def __repr__(self) -> str:
        return f"Permission({self.target.service_url}, {', '.join(sorted(self.actions))})"

    def __contains__(self, action: Action) -> bool:
        return action in self.actions

    def require(self, action: Action) -> None:
        """Refuse what nobody consented to.

        Raises
        ------
        ConsentError
            ``action`` is not permitted.
        """
        if action not in self.actions:
            raise ConsentError(_refusal(self.target, [action]))

    def environment(self) -> dict[str, str]:
        """Return target and consent as environment variables, secrets included: for child processes."""
        consent = {
            action.setting: ",".join([*_names(self.target, action), *sorted(self._listed())])
            for action in self.actions
        }
        # What the target lacks must not be taken from this process's own environment.
        nothing = dict.fromkeys([*ENVIRONMENT, *(action.setting for action in Action)], "")
        return nothing | self.target.environment() | consent

    def moved(self) -> str | None:
        """Look whether a name leads elsewhere by now than when consent was given; return what changed.

        A name that can't be resolved right now has not moved.
        """
        for host, before in self._resolved.items():
            now = _resolve(host)
            if now is not None and (fresh := now - before):
                return (
                    f"{host} leads to {_listing(fresh)} now, and to {_listing(before)} when consent was given"
                )
        return None

    def _listed(self) -> frozenset[str]:
        """Return the addresses that had to be named one by one."""
        several = [found for found in self._resolved.values() if len(found) > 1]
        return frozenset().union(*several)


_GUARD: Final = object()


def of_own_stack(stack: OwnStack) -> Permission:
    """Return the permission to do anything to a stack whose processes we started.

    Raises
    ------
    ConsentError
        ``stack`` has no processes of ours.
    """
    if not stack.parts or stack.target.origin != "embedded":
        raise ConsentError(f"{stack.target.service_url} is no stack of ours")
    return Permission(stack.target, list(Action), own=True, resolved={}, guard=_GUARD)


def ask(
    target: Target,
    actions: Collection[Action],
    plan: Sequence[str] = (),
    *,
    optional: Collection[Action] = (),
    environment: Mapping[str, str] | None = None,
    otherwise: str = "take --local for a stack of our own",
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    prompt: Callable[[str], str] | None = None,
) -> Permission:
    """Say what will be done to a deployment, find consent to it, and return the permission.

    Parameters
    ----------
    target : the deployment.
    actions : what will be done; consent to each is needed.
    plan : what will be done, in a few lines.
    optional : what is done only where there is consent to it.
    environment : where consent is looked for; None: the process's.
    otherwise : what else the user may have meant, for the refusal.
    say : told the plan, a line at a time.
    prompt : asks at a terminal; None: :func:`at_terminal`.

    Raises
    ------
    ConsentError
        There is no consent that names the target's addresses, or a name leads to several.
    """
    environment = os.environ if environment is None else environment
    resolved = _resolved(target, actions)
    for line in _announcement(target, actions, plan, resolved):
        say(line)
    granted = {action for action in actions if _consented(target, action, environment, resolved)}
    missing = [action for action in actions if action not in granted]
    if missing:
        prompt = prompt or at_terminal()
        wanted = _names(target, missing[0])[0]
        if prompt is None or prompt(f"Type {wanted} to go on: ").strip() != wanted:
            raise ConsentError(f"{_refusal(target, missing, resolved)}, or {otherwise}")
        granted.update(missing)
    granted.update(action for action in optional if _consented(target, action, environment, resolved))
    return Permission(target, granted, own=False, resolved=resolved, guard=_GUARD)


def handed_over(environment: Mapping[str, str]) -> Permission:
    """Return the permission that another process of the run was given, as it stands in its environment.

    Raises
    ------
    ConsentError
        It is none, or the target's name leads elsewhere from here.
    """
    return ask(
        Target.from_environment(environment),
        [Action.LOAD],
        optional=[Action.BREAK, Action.TICK, Action.WATCH],
        environment=environment,
        say=lambda _: None,
        prompt=lambda _: "",
    )


def at_terminal() -> Callable[[str], str] | None:
    """Return what asks the person at the terminal; None where there is nobody to ask."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def prompt(question: str) -> str:
        print(question, end="", file=sys.stderr, flush=True)
        try:
            return input()
        except EOFError:
            return ""

    return prompt


def _names(target: Target, *actions: Action) -> list[str]:
    """Return what consent to ``actions`` has to name: the service, and whatever else is changed."""
    service, *others = map(_Address.of, _touched(target, actions))
    hosts = dict.fromkeys(address.host for address in others if address.host != service.host)
    return [service.name, *hosts]


def _touched(target: Target, actions: Collection[Action]) -> list[str]:
    """Return the addresses at which something is changed, the service's first."""
    urls: list[str | None] = [target.service_url]
    if {Action.LOAD, Action.BREAK, Action.WATCH} & set(actions):
        urls.append(target.database_url)  # the run's games are removed there, and its tables are watched
    if Action.BREAK in actions:
        urls += [*target.toxiproxies, target.pubnub_control_url]
    return [url for url in urls if url is not None]


def _consented(
    target: Target, action: Action, environment: Mapping[str, str], resolved: Mapping[str, frozenset[str]]
) -> bool:
    setting = environment.get(action.setting, "")
    given = {_bare(word) for word in setting.replace(",", " ").split()}
    if given & _NO_ADDRESS:
        names = ",".join(_names(target, action))
        raise ConsentError(f"{action.setting}={setting!r} names no address; set {action.setting}={names}")
    if not set(_names(target, action)) <= given:
        return False
    for host, addresses in resolved.items():
        if len(addresses) > 1 and not addresses <= given:
            wanted = ",".join([*_names(target, action), *sorted(addresses)])
            raise ConsentError(
                f"{host} leads to {len(addresses)} addresses, {_listing(addresses)}: "
                f"if all are meant, set {action.setting}={wanted}"
            )
    return True


def _bare(word: str) -> str:
    """Return ``host[:port]`` of what may be a whole address."""
    word = word.strip().lower()
    return _Address.of(word).name if "://" in word else word.rstrip("/")


def _refusal(
    target: Target, actions: Iterable[Action], resolved: Mapping[str, frozenset[str]] | None = None
) -> str:
    actions = list(actions)
    several = sorted(address for found in (resolved or {}).values() if len(found) > 1 for address in found)
    settings = " ".join(
        f"{action.setting}={','.join([*_names(target, action), *several])}" for action in actions
    )
    what = " and ".join(action.passive for action in actions)
    address = _Address.of(target.service_url).name
    return f"{address} is no stack of ours and may not be {what}: set {settings} if that is meant"


def _announcement(
    target: Target,
    actions: Collection[Action],
    plan: Sequence[str],
    resolved: Mapping[str, frozenset[str]],
) -> list[str]:
    address = _Address.of(target.service_url)
    whole = " and ".join(action.passive for action in actions)
    where = resolved.get(address.host)
    lines = [f"{address.name}{f' ({_listing(where)})' if where else ''} is about to be {whole}:"]
    if others := _names(target, *actions)[1:]:
        plan = [*plan, f"changed with it: {', '.join(others)}"]
    lines += [f"  {line}" for line in plan]
    if is_loopback(address.host):
        lines.append(
            "  what answers on this machine may be the end of a tunnel: that can't be known from here"
        )
    return lines


def _resolved(target: Target, actions: Collection[Action]) -> dict[str, frozenset[str]]:
    """Return name -> addresses of the hosts that will be touched; those given as numbers need no look."""
    found = {}
    for host in dict.fromkeys(_Address.of(url).host for url in _touched(target, actions)):
        if not host or is_number(host) or host == "localhost":
            continue  # of this machine's own name, both families are this machine
        addresses = _resolve(host)
        if addresses is None:
            raise ConsentError(f"{host} can't be resolved: check the name and the network")
        found[host] = addresses
    return found


def _resolve(host: str) -> frozenset[str] | None:
    """Return the addresses that a name leads to, None if that can't be told."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    return frozenset(str(entry[4][0]) for entry in found) or None


def _listing(addresses: Iterable[str]) -> str:
    return " and ".join(sorted(addresses))

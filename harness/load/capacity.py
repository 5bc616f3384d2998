"""What a load needs of the machine that it is played on, worked out before anything starts."""

from __future__ import annotations

import argparse
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, Self

from harness import limits
from harness.documents.words import Words
from harness.limits import RESERVED
from harness.load.figures import EMULATOR, FIGURES, LOCUST, OBSERVER, SERVICE, TOXIPROXY
from harness.load.lengths import system_of
from harness.load.options import OptionError, locust_processes
from harness.load_options import LoadOptions

# The figures are fitted to what runs recorded of themselves (`open_files`); test_capacity.py has it.
#: A player holds one connection to PubNub. When a game ends, those of the next are open before it closes,
#: for so many seconds.
_OVERLAP_S: Final = 2.25
#: Connections of a game to the service: its host's, and at times another beside it.
_OF_GAME: Final = 1.75
#: Toxiproxy has two files open for each connection: its caller's and its own to the upstream.
_PROXIED: Final = 2
#: Players choose among several servers by chance: the largest share is so much larger than an even one.
_UNEVEN: Final = 1.05
#: What processes have open without any game.
_PROXY_ITSELF: Final = 160
_EMULATOR_ITSELF: Final = 100
_SERVICE_ITSELF: Final = 60
_OBSERVER_ITSELF: Final = 60
_LOCUST_ITSELF: Final = 20 + RESERVED

PLAYERS_TOXIPROXY: Final = "a Toxiproxy for players"
#: A stack that a run starts by itself has as many as it takes.
_MORE: Final = "more of them (`stormwatch up --toxiproxies`), "

Resource = Literal["open files", "local ports", "GB of memory", "cores"]
#: How it is said what a machine has of each.
_HAS: Final[Mapping[Resource, str]] = MappingProxyType(
    {
        "open files": "this machine allows {} (`ulimit -Hn`)",
        "local ports": "this machine has {} to one address (`net.ipv4.ip_local_port_range`)",
        "GB of memory": "this machine has {} free",
        "cores": "this machine has {}",
    }
)
_WRITTEN: Final[Mapping[Resource, str]] = MappingProxyType(
    {"open files": ",.0f", "local ports": ",.0f", "GB of memory": ",.1f", "cores": ",.1f"}
)


class TooLargeError(OptionError):
    """The load does not fit this machine; the message has the numbers and the way out."""


@dataclass(frozen=True)
class Machine:
    """What a machine has: open files are those of a process, local ports those to one address and port."""

    open_files: float = math.inf
    local_ports: float = math.inf
    memory_gb: float = math.inf
    cores: float = math.inf

    @classmethod
    def here(cls) -> Self:
        """Return what this one has now."""
        return cls(limits.open_files(), limits.local_ports(), limits.free_bytes() / 1e9, limits.cores())

    def has(self, resource: Resource) -> float:
        """Return how much it has of it."""
        return {
            "open files": self.open_files,
            "local ports": self.local_ports,
            "GB of memory": self.memory_gb,
            "cores": self.cores,
        }[resource]

    def in_words(self, resource: Resource) -> str:
        """Return how much it has of it as a number."""
        return f"{self.has(resource):{_WRITTEN[resource]}}"


@dataclass(frozen=True)
class Need:
    """What a load, or a process of it, needs of a machine, and how it could do with less."""

    amount: float
    resource: Resource
    #: Empty: all processes together.
    process: str = ""
    otherwise: str = ""

    def in_words(self) -> str:
        """Return how much of what."""
        return f"{self.amount:{_WRITTEN[self.resource]}} {self.resource}"


@dataclass(frozen=True)
class Size:
    """How large a load is."""

    games: int
    players: int
    #: Subscriber processes to each Locust process.
    observers: int
    #: How long a game takes, in seconds.
    game_s: float
    #: Timers that run out in a game.
    timers: int

    def in_words(self, words: Words) -> str:
        """Return it as the system calls its items."""
        items = _counted(self.games, words.item, words.items)
        return f"{items} of {_counted(self.players, words.player, words.players)}"


def size_of(options: LoadOptions) -> Size:
    """Return how large a load with these options is."""
    timers = len(options.lengths)
    return Size(options.games, options.players, options.observers, options.game_s, timers)


def toxiproxies_for(size: Size, machine: Machine) -> int:
    """Return how many Toxiproxy processes a stack needs for a load."""
    to_pubnub, to_service = _connections(size, processes=1)
    most = (machine.open_files - _PROXY_ITSELF) / _PROXIED
    if most <= 0 or (to_pubnub + to_service <= most and to_pubnub <= machine.local_ports):
        return 1
    return 1 + math.ceil(_UNEVEN * to_pubnub / min(most, machine.local_ports))


def needs_of(size: Size, *, processes: int, here: int, toxiproxies: int) -> list[Need]:
    """Return what a load, and each process of it, needs on this machine.

    Parameters
    ----------
    processes : Locust processes that share it.
    here : how many of them are on this machine.
    toxiproxies : Toxiproxy processes of the stack on this machine; 0: it is elsewhere.
    """
    files = [
        *(_of_locust(size, processes) if here else ()),
        *(_of_stack(size, toxiproxies) if toxiproxies else ()),
    ]
    to_pubnub, to_service = (number * here for number in _connections(size, processes))
    ports = max(to_service, math.ceil(_UNEVEN * to_pubnub / max(1, toxiproxies - 1)))
    running = {OBSERVER: size.observers * here, LOCUST: here}
    players = dict.fromkeys(running, size.games * size.players * here / processes)
    if toxiproxies:
        stack = FIGURES.keys() - running.keys()
        running |= dict.fromkeys(stack, 1) | {TOXIPROXY: toxiproxies}
        players |= dict.fromkeys(stack, size.games * size.players)
    mb = sum(FIGURES[part].memory_mb(number, players[part]) for part, number in running.items())
    ms = sum(FIGURES[part].ms_a_timer * heard for part, heard in players.items()) * size.timers / size.game_s
    return [
        *files,
        Need(ports, "local ports", otherwise="use workers on other machines, "),
        Need(mb / 1e3, "GB of memory", otherwise="use workers on other machines, "),
        Need(ms / 1e3, "cores", otherwise="longer timers, "),
    ]


def _of_stack(size: Size, toxiproxies: int) -> Iterator[Need]:
    to_pubnub, to_service = _connections(size, processes=1)
    if toxiproxies == 1:
        yield Need(_PROXY_ITSELF + _PROXIED * (to_pubnub + to_service), "open files", TOXIPROXY, _MORE)
    else:
        of_players = math.ceil(_UNEVEN * to_pubnub / (toxiproxies - 1))
        yield Need(_PROXY_ITSELF + _PROXIED * to_service, "open files", TOXIPROXY)
        yield Need(_PROXY_ITSELF + _PROXIED * of_players, "open files", PLAYERS_TOXIPROXY, _MORE)
    yield Need(_EMULATOR_ITSELF + to_pubnub, "open files", EMULATOR, "longer timers, ")
    yield Need(_SERVICE_ITSELF + to_service, "open files", SERVICE)


def _of_locust(size: Size, processes: int) -> Iterator[Need]:
    """Yield what one of ``processes`` Locust processes needs, and each of its observers."""
    to_pubnub, to_service = _connections(size, processes)
    of_observer = _OBSERVER_ITSELF + math.ceil(to_pubnub / size.observers)
    yield Need(of_observer, "open files", OBSERVER, "more --observers, ")
    yield Need(_LOCUST_ITSELF + to_service, "open files", LOCUST, "more workers (--processes), ")


def _connections(size: Size, processes: int) -> tuple[int, int]:
    """Return the connections to PubNub and to the service of the share of one of ``processes``."""
    games = math.ceil(size.games / processes)
    of_player = 1 + _OVERLAP_S / size.game_s
    return math.ceil(of_player * games * size.players), math.ceil(_OF_GAME * games)


def see_that_it_fits(
    size: Size,
    words: Words,
    *,
    processes: int,
    here: int,
    toxiproxies: int | None,
    machine: Machine | None = None,
) -> None:
    """See that this machine has what a load needs.

    Parameters
    ----------
    words : what the system calls its items.
    processes, here : as :func:`needs_of` takes them.
    toxiproxies : so too; None: of a stack that is still to be started.
    machine : what it has; None: this one.

    Raises
    ------
    TooLargeError
        It has not.
    """
    has = machine or Machine.here()

    def beyond(games: int) -> tuple[float, Need]:
        """Return the share of what there is that is needed, of what is shortest."""
        asked = replace(size, games=games)
        servers = toxiproxies_for(asked, has) if toxiproxies is None else toxiproxies
        needs = needs_of(asked, processes=processes, here=here, toxiproxies=servers)
        return max(((need.amount / has.has(need.resource), need) for need in needs), key=lambda one: one[0])

    share, need = beyond(size.games)
    if share <= 1:
        return
    fit = bisect_left(range(1, size.games), True, key=lambda games: beyond(games)[0] > 1)
    fewer = f"play fewer {words.items} ({fit:,} fit), " if fit else ""
    more = "raise the limit, " if need.resource == "open files" else ""
    inside = f" in {need.process}" if need.process else ""
    there_is = _HAS[need.resource].format(has.in_words(need.resource))
    raise TooLargeError(
        f"{size.in_words(words)} need {need.in_words()}{inside}, {there_is}: "
        f"{fewer}{need.otherwise}{more}or play --anyway"
    )


def see_that_it_fits_here(
    options: LoadOptions, given: argparse.Namespace, *, toxiproxies: int | None
) -> None:
    """See that what ``given`` starts on this machine to play ``options`` fits, unless it says ``--anyway``.

    Workers that are started by themselves see to their own share. ``toxiproxies`` is as
    :func:`see_that_it_fits` takes it.

    Raises
    ------
    TooLargeError
        It does not.
    """
    if not given.anyway:
        processes = locust_processes(given)
        here = 0 if given.master and not given.processes else processes
        words = system_of(given).words
        see_that_it_fits(size_of(options), words, processes=processes, here=here, toxiproxies=toxiproxies)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"

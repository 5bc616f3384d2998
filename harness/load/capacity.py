"""What a load needs of the machine that it is played on, worked out before anything starts."""

from __future__ import annotations

import argparse
import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Final

from harness.documents.words import Words
from harness.limits import RESERVED, open_files
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


class TooLargeError(OptionError):
    """The load does not fit this machine; the message has the numbers and the way out."""


@dataclass(frozen=True)
class Need:
    """Open files that a process needs, and how it could do with fewer."""

    process: str
    open_files: int
    otherwise: str = ""


@dataclass(frozen=True)
class Size:
    """How large a load is."""

    games: int
    players: int
    #: Subscriber processes to each Locust process.
    observers: int
    #: How long a game takes, in seconds.
    game_s: float

    def in_words(self, words: Words) -> str:
        """Return it as the system calls its items."""
        items = _counted(self.games, words.item, words.items)
        return f"{items} of {_counted(self.players, words.player, words.players)}"


def size_of(options: LoadOptions) -> Size:
    """Return how large a load with these options is."""
    return Size(options.games, options.players, options.observers, options.game_s)


def toxiproxies_for(size: Size, *, files: int) -> int:
    """Return how many Toxiproxy processes a stack needs for a load.

    Parameters
    ----------
    files : open files that a process is allowed.
    """
    to_pubnub, to_service = _connections(size, processes=1)
    most = (files - _PROXY_ITSELF) // _PROXIED
    if to_pubnub + to_service <= most or most <= 0:
        return 1
    return 1 + math.ceil(_UNEVEN * to_pubnub / most)


def needs_of(size: Size, *, processes: int, toxiproxies: int) -> list[Need]:
    """Return what each process of a load needs on this machine.

    Parameters
    ----------
    processes : Locust processes that share it; 0: none plays here.
    toxiproxies : Toxiproxy processes of the stack on this machine; 0: it is elsewhere.
    """
    stack = _of_stack(size, toxiproxies) if toxiproxies else []
    return (_of_locust(size, processes) if processes else []) + stack


def _of_stack(size: Size, toxiproxies: int) -> list[Need]:
    to_pubnub, to_service = _connections(size, processes=1)
    needs = [
        Need("the PubNub emulator", _EMULATOR_ITSELF + to_pubnub, "longer timers, "),
        Need("the service", _SERVICE_ITSELF + to_service),
    ]
    if toxiproxies == 1:
        return [Need("Toxiproxy", _PROXY_ITSELF + _PROXIED * (to_pubnub + to_service)), *needs]
    of_players = math.ceil(_UNEVEN * to_pubnub / (toxiproxies - 1))
    return [
        Need("Toxiproxy", _PROXY_ITSELF + _PROXIED * to_service),
        Need("a Toxiproxy for players", _PROXY_ITSELF + _PROXIED * of_players),
        *needs,
    ]


def _of_locust(size: Size, processes: int) -> list[Need]:
    """Return what one of ``processes`` Locust processes needs, and each of its observers."""
    to_pubnub, to_service = _connections(size, processes)
    of_observer = _OBSERVER_ITSELF + math.ceil(to_pubnub / size.observers)
    return [
        Need("an observer", of_observer, "more --observers, "),
        Need("a Locust process", _LOCUST_ITSELF + to_service, "more workers (--processes), "),
    ]


def _connections(size: Size, processes: int) -> tuple[int, int]:
    """Return the connections to PubNub and to the service of the share of one of ``processes``."""
    games = math.ceil(size.games / processes)
    of_player = 1 + _OVERLAP_S / size.game_s
    return math.ceil(of_player * games * size.players), math.ceil(_OF_GAME * games)


def see_that_it_fits(
    size: Size, words: Words, *, processes: int, toxiproxies: int | None, allowed: int | None = None
) -> None:
    """See that each process that a load takes on this machine may open the files that it needs.

    Parameters
    ----------
    words : what the system calls its items.
    processes, toxiproxies : as :func:`needs_of` takes them; None: of a stack that is still to be started.
    allowed : open files that a process is allowed; None: those of this machine.

    Raises
    ------
    TooLargeError
        One may not.
    """
    limit = open_files() if allowed is None else allowed

    def most(games: int) -> Need:
        asked = replace(size, games=games)
        servers = toxiproxies_for(asked, files=limit) if toxiproxies is None else toxiproxies
        needs = needs_of(asked, processes=processes, toxiproxies=servers)
        return max(needs, key=lambda need: need.open_files, default=Need("", 0))

    if (need := most(size.games)).open_files <= limit:
        return
    fit = bisect_right(range(1, size.games), limit, key=lambda games: most(games).open_files)
    fewer = f"play fewer {words.items} ({fit:,} fit), " if fit else ""
    raise TooLargeError(
        f"{size.in_words(words)} need {need.open_files:,} open files in {need.process}, this machine allows "
        f"{limit:,} (`ulimit -Hn`): {fewer}{need.otherwise}raise the limit, or play --anyway"
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
        processes = 0 if given.master and not given.processes else locust_processes(given)
        words = system_of(given).words
        see_that_it_fits(size_of(options), words, processes=processes, toxiproxies=toxiproxies)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"

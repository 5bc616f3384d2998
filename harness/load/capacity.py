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
#: Connections of a player to PubNub: its long poll, and at times a call beside it.
_OF_PLAYER: Final = 1.25
#: Connections of a game to the service: its host's, and at times another beside it.
_OF_GAME: Final = 1.75
#: Toxiproxy has two files open for each connection: its caller's and its own to the upstream.
_PROXIED: Final = 2
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

    def in_words(self, words: Words) -> str:
        """Return it as the system calls its items."""
        items = _counted(self.games, words.item, words.items)
        return f"{items} of {_counted(self.players, words.player, words.players)}"


def size_of(options: LoadOptions) -> Size:
    """Return how large a load with these options is."""
    return Size(options.games, options.players, options.observers)


def needs_of(size: Size, *, processes: int, own_stack: bool) -> list[Need]:
    """Return what each process of a load needs on this machine.

    Parameters
    ----------
    processes : Locust processes that share it; 0: none plays here.
    own_stack : whether the stack is on this machine, too.
    """
    return (_of_locust(size, processes) if processes else []) + (_of_stack(size) if own_stack else [])


def _of_stack(size: Size) -> list[Need]:
    to_pubnub, to_service = _connections(size, processes=1)
    return [
        Need("Toxiproxy", _PROXY_ITSELF + _PROXIED * (to_pubnub + to_service)),
        Need("the PubNub emulator", _EMULATOR_ITSELF + to_pubnub),
        Need("the service", _SERVICE_ITSELF + to_service),
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
    return math.ceil(_OF_PLAYER * games * size.players), math.ceil(_OF_GAME * games)


def see_that_it_fits(
    size: Size, words: Words, *, processes: int, own_stack: bool, allowed: int | None = None
) -> None:
    """See that each process that a load takes on this machine may open the files that it needs.

    Parameters
    ----------
    words : what the system calls its items.
    processes, own_stack : as :func:`needs_of` takes them.
    allowed : open files that a process is allowed; None: those of this machine.

    Raises
    ------
    TooLargeError
        One may not.
    """
    limit = open_files() if allowed is None else allowed

    def most(games: int) -> Need:
        needs = needs_of(replace(size, games=games), processes=processes, own_stack=own_stack)
        return max(needs, key=lambda need: need.open_files, default=Need("", 0))

    if (need := most(size.games)).open_files <= limit:
        return
    fit = bisect_right(range(1, size.games), limit, key=lambda games: most(games).open_files)
    fewer = f"play fewer {words.items} ({fit:,} fit), " if fit else ""
    raise TooLargeError(
        f"{size.in_words(words)} need {need.open_files:,} open files in {need.process}, this machine allows "
        f"{limit:,} (`ulimit -Hn`): {fewer}{need.otherwise}raise the limit, or play --anyway"
    )


def see_that_it_fits_here(options: LoadOptions, given: argparse.Namespace, *, own_stack: bool) -> None:
    """See that what ``given`` starts on this machine to play ``options`` fits, unless it says ``--anyway``.

    Workers that are started by themselves see to their own share.

    Raises
    ------
    TooLargeError
        It does not.
    """
    if not given.anyway:
        processes = 0 if given.master and not given.processes else locust_processes(given)
        see_that_it_fits(size_of(options), system_of(given).words, processes=processes, own_stack=own_stack)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"

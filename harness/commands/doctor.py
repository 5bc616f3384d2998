"""`stormwatch doctor`: what a run needs, its version, where it came from, and whether it works here."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option, print_json
from harness.commands._system import system_option, use_system

_OLDEST_PYTHON: Final = (3, 11)
_LIMIT_S: Final = 10.0
_NO_SHELLS: Final = frozenset({"", "nologin", "false", "sync", "shutdown", "halt"})
_SHOWN_USERS: Final = 3


@dataclass(frozen=True)
class Finding:
    """What was found of one thing that a run needs."""

    part: str
    version: str
    source: str
    works: bool
    #: What was tried, or what to do if it does not work.
    note: str


@click.command()
@json_option
@click.option("--games", type=click.IntRange(1), help="Only tell what a load of so many games needs here.")
@click.option(
    "--players", type=click.IntRange(1), help="Players in each of them.", default=4, show_default=True
)
@click.option("--lasting", metavar="DURATION",
              help="How long each of them takes, with unit. [default: as the system says]")  # fmt: skip
@system_option
def command(as_json: bool, games: int | None, players: int, lasting: str | None, system: str | None) -> None:
    """Show what a run needs: version, where it came from, whether it works, and the way out if not.

    Each process is started for a moment. If SUPABASE_URL names a deployment, that is looked at instead of
    a local stack, without effects on it. Exits 0 if all work, 1 if not.
    """
    try:
        use_system(system)
    except click.UsageError:
        # That none is named is one of the things to be told, unless it was asked about.
        if system is not None or games is not None:
            raise
    findings = examine() if games is None else _load(games, players, lasting)
    if as_json:
        print_json(findings)
    else:
        _table(findings)
    sys.exit(0 if all(finding.works for finding in findings) else 1)


def examine() -> list[Finding]:
    """Try everything that a run needs; return what was found, each after what it needs itself."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("Python", _python),
        ("folders", _folders),
        ("Postgres", _postgres),
        ("Toxiproxy", _toxiproxy),
        ("PubNub", _pubnub),
        ("system", _system),
    ]
    findings = [_guarded(part, check) for part, check in checks]
    if os.environ.get("SUPABASE_URL"):
        return [*findings, _guarded("target", _target)]
    broken = [finding.part for finding in findings if not finding.works]
    if broken:
        note = f"not tried: it needs {', '.join(broken)}"
        findings.append(Finding("service", _version("stormwatch"), "this project", False, note))
    else:
        findings.append(_guarded("service", _service))
    return findings


def _guarded(part: str, check: Callable[[], Finding]) -> Finding:
    from harness.observe.looks import TargetUnusable
    from harness.stack import StackError
    from harness.system import SystemFileError

    try:
        return check()
    except (StackError, SystemFileError, TargetUnusable, OSError) as error:
        first, *more = str(error).splitlines()
        # Of a log that stands in the message, its last words are enough here.
        return Finding(part, "", "", False, f"{first}: {more[-1].strip()}" if more else first)


def _python() -> Finding:
    works = sys.version_info >= _OLDEST_PYTHON
    wanted = ".".join(map(str, _OLDEST_PYTHON))
    note = "runs this" if works else f"install Python {wanted} or newer and run `make setup`"
    return Finding("Python", platform.python_version(), sys.executable, works, note)


def _folders() -> Finding:
    """Look at the folders that a run writes to: temporary files, the cache, its reports."""
    from harness.history.run import DEFAULT_REPORTS
    from harness.process import Reaper
    from harness.stack.folders import cache_folder, scratch_folder

    with Reaper() as reaper:
        scratch = scratch_folder(reaper, for_socket="control")
        scratch.rmdir()
        reaper.forget(scratch)
    cache = cache_folder("stacks").parent
    reports = Path(os.environ.get("STORMWATCH_REPORTS") or DEFAULT_REPORTS).absolute()
    nearest = next(folder for folder in (reports, *reports.parents) if folder.exists())
    source = f"temporary files {scratch.parent}, cache {_short(str(cache))}, reports {_short(str(reports))}"
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        note = f"can't write to {reports}: go to another folder, or set STORMWATCH_REPORTS"
        return Finding("folders", "", source, False, note)
    return Finding("folders", "", source, True, "can be written")


def _postgres() -> Finding:
    from harness.stack import Postgres

    with Postgres() as postgres:
        found = postgres.installation
        user = f", as user {found.user.pw_name}" if found.user else ""
        return Finding("Postgres", found.version, found.source, True, f"started and took connections{user}")


def _toxiproxy() -> Finding:
    from harness.process import Reaper
    from harness.stack import Proxies, StackProcess, toxiproxy
    from harness.stack.ports import PortBlock

    binary = toxiproxy.find()
    if binary is None:
        note = (
            f"toxiproxy-server not found: `python -m harness.stack` gets it, "
            f"or set {toxiproxy.BIN_VARIABLE} (looked on PATH and at {toxiproxy.cached_path()})"
        )
        return Finding("Toxiproxy", "", "", False, note)
    with Reaper() as reaper, PortBlock() as block, tempfile.TemporaryDirectory() as folder:
        spec = toxiproxy.spec(binary, block.take(), Path(folder, "toxiproxy.log"))
        with StackProcess(spec, reaper).start() as process:
            process.wait_until_ready(_LIMIT_S)
            Proxies(f"http://{process.endpoint}").create("doctor", "127.0.0.1:0", process.endpoint)
    path = str(binary.path)
    source = binary.source if path in binary.source else f"{binary.source}: {_short(path)}"
    notes = ["started and made a proxy", binary.doubt and "unverified: its checksum is none that is pinned"]
    notes.append(f"its API has no secret: {_who_else()} can reach it while a stack runs")
    return Finding("Toxiproxy", binary.version, source, True, "; ".join(filter(None, notes)))


def _who_else() -> str:
    """Return who besides this user reaches what listens on 127.0.0.1."""
    import pwd

    names = sorted(
        user.pw_name
        for user in pwd.getpwall()
        if user.pw_uid != os.geteuid() and Path(user.pw_shell).name not in _NO_SHELLS
    )
    shown = ", ".join(names[:_SHOWN_USERS]) + (" ..." if len(names) > _SHOWN_USERS else "")
    return f"every user of this machine ({shown or 'no other has a shell'}), and containers on its network,"


def _pubnub() -> Finding:
    version = f"SDK {_version('pubnub')}"
    if os.environ.get("PUBNUB_PUBLISH_KEY") and os.environ.get("PUBNUB_SUBSCRIBE_KEY"):
        return _real_pubnub(version)
    from harness.process import Reaper
    from harness.stack import StackProcess
    from harness.stack.ports import PortBlock
    from harness.stack.pubnub import MODULE, spec
    from harness.stack.stack import inherited_environment

    with Reaper() as reaper, PortBlock() as block, tempfile.TemporaryDirectory() as folder:
        environment = inherited_environment()
        log = Path(folder, "pubnub.log")
        emulator = spec(block.take(), log, environment, control_token="doctor")  # noqa: S106 - no secret: it ends here
        with StackProcess(emulator, reaper).start() as process:
            process.wait_until_ready(_LIMIT_S)
            timetoken = _ask_time(process.endpoint, ssl=False)
    note = f"started, and the SDK was told the time: {timetoken}"
    return Finding("PubNub", version, f"emulator {MODULE}", True, note)


def _real_pubnub(version: str) -> Finding:
    from urllib.parse import urlsplit

    from harness.stack import StackError
    from harness.target import DEFAULT_PUBNUB_ORIGIN, TargetError, see_that_it_is_an_address

    origin = os.environ.get("PUBNUB_ORIGIN") or DEFAULT_PUBNUB_ORIGIN
    try:
        see_that_it_is_an_address("PUBNUB_ORIGIN", origin)
    except TargetError as error:
        return Finding(
            "PubNub", version, "keys in PUBNUB_PUBLISH_KEY and PUBNUB_SUBSCRIBE_KEY", False, str(error)
        )
    parts = urlsplit(origin)
    source = f"keys in PUBNUB_PUBLISH_KEY and PUBNUB_SUBSCRIBE_KEY, {origin}"
    try:
        timetoken = _ask_time(parts.netloc, ssl=parts.scheme == "https")
    except StackError as error:
        note = f"{error}; check PUBNUB_ORIGIN and the network, or unset the keys to use the emulator"
        return Finding("PubNub", version, source, False, note)
    return Finding("PubNub", version, source, True, f"the SDK was told the time: {timetoken}")


def _ask_time(origin: str, *, ssl: bool) -> int:
    """Ask for PubNub's time with the official SDK, the call that needs no keys to be right."""
    from pubnub.exceptions import PubNubException
    from pubnub.pnconfiguration import PNConfiguration
    from pubnub.pubnub import PubNub

    from harness.stack import StackError

    configuration = PNConfiguration()
    configuration.subscribe_key = configuration.publish_key = "demo"
    configuration.uuid = "stormwatch-doctor"
    configuration.origin = origin
    configuration.ssl = ssl
    configuration.connect_timeout = configuration.non_subscribe_request_timeout = 5
    try:
        return int(PubNub(configuration).time().sync().result)
    except (PubNubException, OSError) as error:
        raise StackError(f"PubNub at {origin} does not tell the time: {error}") from error


def _system() -> Finding:
    """Load the description of the system under test."""
    from harness.system import find_system
    from harness.system.find import place_of

    system = find_system()
    states = f"its states with a timer: {', '.join(system.lifecycle.timed)}"
    return Finding("system", "", _short(place_of(system)), True, f"{system.name}; {states}")


def _target() -> Finding:
    """Look at the deployment that the environment names, as far as looking has no effect."""
    from harness.observe.looks import TargetUnusable, earlier_runs, look_at_database, look_at_health
    from harness.system import HasHealth, find_system
    from harness.target import Target, TargetError

    found = partial(Finding, "target", "")
    try:
        target = Target.from_environment()
    except TargetError as error:
        return found("SUPABASE_URL", False, str(error))
    found = partial(found, f"SUPABASE_URL {target.service_url}")
    system = find_system()(target)
    try:
        ill = look_at_health(system)
        takes_key = earlier_runs(system) is not None
        look_at_database(system)
    except TargetUnusable as error:
        return found(False, str(error))
    seen = {
        "answers": isinstance(system, HasHealth) or takes_key,
        "takes the key": takes_key,
        "its database can be read": target.database_url is not None,
    }
    note = ", ".join(what for what, is_so in seen.items() if is_so) or _NOT_LOOKED_AT
    return found(ill is None, f"{note}; it calls itself unhealthy: {ill}" if ill else note)


#: Where nothing of a system can be asked without an effect.
_NOT_LOOKED_AT: Final = (
    "nothing of it can be asked without an effect: `stormwatch system check` plays an item"
)


def _service() -> Finding:
    from harness.observe.looks import look_at_health
    from harness.stack import StackOptions, start_stack
    from harness.system import HasHealth, find_system

    system = find_system()
    with start_stack(StackOptions(advertise=False)) as stack:
        ill = look_at_health(system(stack.target))
    note = "started behind its proxies"
    if issubclass(system, HasHealth):
        note += " and says that it is healthy"
    if ill:
        note = f"started, and calls itself unhealthy ({ill}); `stormwatch up` keeps it running to look into"
    return Finding("service", _version("stormwatch"), "this project", ill is None, note)


def _load(games: int, players: int, lasting: str | None) -> list[Finding]:
    """Compare what each process of a local load of this size needs with what this machine has."""
    from harness.limits import cores, open_files
    from harness.load.capacity import (
        PLAYERS_TOXIPROXY,
        Machine,
        Size,
        TooLargeError,
        needs_of,
        see_that_it_fits,
        toxiproxies_for,
    )
    from harness.load.figures import OBSERVER
    from harness.load_options import OPTIONS, observers_for
    from harness.sla.units import parse_duration
    from harness.system import find_system, tick_of

    machine, system = Machine.here(), find_system()
    lengths = [timed.usual for timed in system.lifecycle.timed.values()]
    tick = tick_of(system, str(OPTIONS["tick"].usual))
    with said_as(click.UsageError, ValueError):
        game_s = sum(map(parse_duration, [lasting] if lasting else [*lengths, *len(lengths) * [tick]]))
    observers = observers_for(games * players, cores=cores(), files=open_files())
    size = Size(games, players, observers, game_s, len(lengths))
    servers = toxiproxies_for(size, machine)
    several = {OBSERVER: observers, PLAYERS_TOXIPROXY: servers - 1}
    found = [
        Finding(
            need.process or "all together",
            "",
            f"{need.in_words()} of {machine.in_words(need.resource)}",
            need.amount <= machine.has(need.resource),
            f"{several[need.process]} of them" if need.process in several else "",
        )
        for need in needs_of(size, processes=1, here=1, toxiproxies=servers)
    ]
    try:
        see_that_it_fits(size, system.words, processes=1, here=1, toxiproxies=servers, machine=machine)
    except TooLargeError as error:
        return [*found, Finding("the load", "", size.in_words(system.words), False, str(error))]
    return [*found, Finding("the load", "", size.in_words(system.words), True, "fits this machine")]


def _short(path: str) -> str:
    """Return a path as people write it who are at home."""
    home = str(Path.home())
    return "~" + path.removeprefix(home) if path.startswith(home + os.sep) else path


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _table(findings: list[Finding]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness import output

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("part", "version", "from", "works", ""):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        works = Text("yes", "green") if finding.works else Text("NO", "bold red")
        # Text: what comes from a log or a path must not be read as markup.
        table.add_row(finding.part, finding.version, Text(finding.source), works, Text(finding.note))
    output.console().print(table)

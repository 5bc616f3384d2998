"""`stormwatch up`: the local stack, until Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from harness.commands._errors import said_as
from harness.commands._system import end_in_order_on_signals, system_option, use_system

if TYPE_CHECKING:
    from harness.stack import RealPubNub, Stack

#: Between two looks at whether all processes are still there.
_LOOK_S: Final = 0.25


@click.command(
    epilog="In another shell: `stormwatch fault` breaks parts of it, "
    "`stormwatch up --env --consent > stack.env &` and then `set -a; . ./stack.env` points locust, pytest "
    "and curl at it. Without --consent, load and faults pointed at it ask first, as for a deployment. "
    "A script's shell makes what it puts into the background ignore Ctrl-C and `kill -INT`: end it with "
    "`stormwatch down`.",
)
@click.option("--env", "style", flag_value="env", help="Print NAME=value lines for a shell to source.")
@click.option("--json", "style", flag_value="json", help="Print one JSON document, secrets included.")
@click.option("--consent", is_flag=True,
              help="With --env or --json: print consent to load, break and tick it, too.")  # fmt: skip
@system_option
@click.option("--replicas", type=click.IntRange(1, 24), default=1, show_default=True,
              help="Processes of the service, the second behind load-service-2 and so on.")  # fmt: skip
@click.option("--toxiproxies", type=click.IntRange(1, 24), default=1, show_default=True,
              help="Processes of Toxiproxy, all but the first of several for players alone.")  # fmt: skip
@click.option("--service-env", "service_env", metavar="NAME=VALUE", multiple=True,
              help="Further setting of the service; several times for several.")  # fmt: skip
@click.option("--max-connections", type=click.IntRange(10, 1000), default=100, show_default=True,
              help="Connections that Postgres takes at a time.")  # fmt: skip
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where each part's log goes. [default: a temporary folder that goes away]")  # fmt: skip
@click.option("--real-pubnub", is_flag=True,
              help="Use the network, with PUBNUB_PUBLISH_KEY and PUBNUB_SUBSCRIBE_KEY.")  # fmt: skip
def command(
    style: str | None,
    consent: bool,
    system: str | None,
    replicas: int,
    toxiproxies: int,
    service_env: tuple[str, ...],
    max_connections: int,
    logs: Path | None,
    real_pubnub: bool,
) -> None:
    """Start the local stack and stay until Ctrl-C.

    Toxiproxy, the system under test, and Postgres and the PubNub emulator where it needs them, on free ports,
    wired through the proxies service-postgres, service-pubnub, load-service and players-pubnub. Nothing is
    left behind.
    """
    from harness.stack import StackError, StackOptions, start_stack

    if consent and style is None:
        raise click.UsageError("--consent prints nothing by itself: add --env or --json")
    use_system(system)
    options = StackOptions(
        replicas=replicas,
        toxiproxies=toxiproxies,
        service_env=_settings(service_env),
        log_folder=logs.absolute() if logs else None,
        max_connections=max_connections,
        pubnub=_real_pubnub() if real_pubnub else None,
    )
    end_in_order_on_signals()
    begun = time.monotonic()
    try:
        with (
            said_as(click.ClickException, StackError),
            start_stack(options, say=lambda line: click.echo(line, err=True)) as stack,
        ):
            _show(stack, style, time.monotonic() - begun, consent=consent)
            _stay(stack)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


def _settings(pairs: Iterable[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"--service-env {pair!r} is not NAME=VALUE")
        settings[name] = value
    return settings


def _real_pubnub() -> RealPubNub:
    from harness.stack import RealPubNub
    from harness.target import DEFAULT_PUBNUB_ORIGIN, TargetError, see_that_it_is_an_address

    names = ("PUBNUB_PUBLISH_KEY", "PUBNUB_SUBSCRIBE_KEY")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise click.UsageError(f"--real-pubnub: not set: {', '.join(missing)}")
    origin = os.environ.get("PUBNUB_ORIGIN") or DEFAULT_PUBNUB_ORIGIN
    with said_as(click.UsageError, TargetError):
        see_that_it_is_an_address("PUBNUB_ORIGIN", origin)
    return RealPubNub(os.environ[names[0]], os.environ[names[1]], origin)


def _show(stack: Stack, style: str | None, ready_s: float, *, consent: bool) -> None:
    from harness.system.find import SETTING, place_of

    # With consent it is what child processes are given, less the names that only unset something there.
    environment = stack.permission.environment() if consent else stack.environment()
    environment = {name: value for name, value in environment.items() if value}
    environment[SETTING] = place_of(stack.system)
    if style == "env":
        for name, value in environment.items():
            click.echo(f"{name}={shlex.quote(value)}")
    elif style == "json":
        click.echo(json.dumps(_document(stack, environment, ready_s), indent=2))
    else:
        _table(stack, ready_s)
    sys.stdout.flush()


def _document(stack: Stack, environment: dict[str, str], ready_s: float) -> dict[str, object]:
    proxies = stack.proxies.all().values()
    return {
        "id": stack.id,
        "ready_s": round(ready_s, 3),
        "versions": stack.versions,
        "environment": environment,
        "services": stack.service_urls,
        "parts": {
            name: {"pid": part.pid, "endpoint": part.endpoint, "log": str(part.log_path)}
            for name, part in stack.parts.items()
        },
        "proxies": {proxy.name: {"listen": proxy.listen, "upstream": proxy.upstream} for proxy in proxies},
    }


def _table(stack: Stack, ready_s: float) -> None:
    from rich import box
    from rich.table import Table

    from harness import output

    console = output.console()
    proxies: dict[str, list[str]] = {}
    for proxy in stack.proxies.all().values():
        proxies.setdefault(proxy.upstream, []).append(f"{proxy.listen}  {proxy.name}")
    table = Table(
        box=box.SIMPLE_HEAD, title=f"Stack {stack.id}, ready in {ready_s:.1f} s", title_justify="left"
    )
    for heading in ("part", "listens on", "through proxy", "pid"):
        table.add_column(heading)
    for name, part in stack.parts.items():
        table.add_row(name, part.endpoint, "\n".join(proxies.get(part.endpoint, [])), str(part.pid))
    console.print(table)
    console.print(f"service  {stack.target.service_url}", highlight=False)
    console.print(f"logs     {stack.log_folder}", highlight=False, soft_wrap=True)
    console.print("break it with `stormwatch fault`; Ctrl-C or `stormwatch down` ends it", highlight=False)


def _stay(stack: Stack) -> NoReturn:
    """Stay until a signal comes; tell of processes that end and come up."""
    down: set[str] = set()
    while True:
        time.sleep(_LOOK_S)
        now_down = {name for name, part in stack.parts.items() if part.pid is None}
        for name in sorted(now_down - down):
            click.echo(f"{name} is down; its log is {stack.parts[name].log_path}", err=True)
        for name in sorted(down - now_down):
            click.echo(f"{name} is up again", err=True)
        down = now_down

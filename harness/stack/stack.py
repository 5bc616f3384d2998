"""All local parts of a run, wired through their proxies: started together, gone together."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

import harness
from harness import limits, web_proxies
from harness.files import make_folder
from harness.process import ProcessSpec, Reaper, remove, stop_all, wait_until_ready
from harness.stack import pubnub, service
from harness.stack.advertisement import FOLDER as ADVERTISED
from harness.stack.advertisement import Advertisement
from harness.stack.control import ControlServer
from harness.stack.errors import PortTakenError, StackError
from harness.stack.folders import cache_folder, fits_a_socket, scratch_folder
from harness.stack.ports import PortBlock
from harness.stack.postgres import OWNER, Postgres
from harness.stack.process import StackProcess
from harness.stack.proxies import LOAD_SERVICE, PLAYERS_PUBNUB, SERVICE_POSTGRES, SERVICE_PUBNUB, Proxies
from harness.target import DEFAULT_PUBNUB_ORIGIN, Permission, Target
from harness.target.consent import of_own_stack

if TYPE_CHECKING:
    from harness.stack.toxiproxy import Binary

HOST: Final = "127.0.0.1"
PROJECT: Final = Path(harness.__file__).parents[1]

#: What of the starter's environment its parts may see: nothing that could change what they are.
_INHERITED: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
)
#: Generous: it only matters where something is wrong, or the machine is busy with much else.
_READY_S: Final = 60.0
_ATTEMPTS: Final = 3
#: Name of the control socket.
_CONTROL: Final = "control"
#: The service ends first, while all that it talks to still answers; both together stay under 2 s.
_SERVICE_GRACE_S: Final = 0.8
_GRACE_S: Final = 0.7
#: What a part may take to end when it is restarted on purpose.
_RESTART_GRACE_S: Final = 15.0


@dataclass(frozen=True)
class RealPubNub:
    """Keys of the real network, to be used instead of the emulator. There are no PubNub faults then."""

    publish_key: str = field(repr=False)
    subscribe_key: str
    origin: str = DEFAULT_PUBNUB_ORIGIN


@dataclass(frozen=True)
class StackOptions:
    """What a stack is made of."""

    #: Processes of the service. The first is behind the proxy `load-service`, the others behind
    #: `load-service-2` and so on, as a proxy has one upstream.
    replicas: int = 1
    #: Further environment of the service (``{"ENABLE_GRACE_PERIOD": "false"}``, addresses of alert sinks).
    service_env: Mapping[str, str] = field(default_factory=dict)
    #: Where each part's output goes, one file a part; by default a temporary folder that goes away.
    log_folder: Path | None = None
    #: Keep the temporary folder's logs after the end, for looking into.
    keep_logs: bool = False
    max_connections: int = 100
    #: Further settings of Postgres.
    postgres: Mapping[str, str] = field(default_factory=dict)
    #: None: the emulator.
    pubnub: RealPubNub | None = None
    #: Let `stormwatch fault` find it.
    advertise: bool = True


class Stack:
    """The parts of a local run. Use :func:`start_stack`, or ``with Stack(options) as stack``.

    Attributes
    ----------
    parts : name -> part: ``postgres``, ``toxiproxy``, ``pubnub``, ``service-1``, ``service-2`` ...
    proxies : client of the Toxiproxy that all traffic passes.
    target : the stack as the system under test: the service and PubNub through their proxies, the
        database directly.
    service_urls : one address a replica, each through a proxy.
    """

    def __init__(
        self, options: StackOptions | None = None, *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.options = options or StackOptions()
        if self.options.replicas < 1:
            raise StackError(f"replicas={self.options.replicas}: at least one is needed")
        self.id = secrets.token_hex(3)
        self.parts: dict[str, StackProcess] = {}
        self.proxies: Proxies
        self.target: Target
        self.service_urls: list[str] = []
        self.postgres: Postgres | None = None
        self.versions: dict[str, str] = {}
        self._say = say
        self._reaper: Reaper | None = None
        self._block: PortBlock | None = None
        self._folder: Path | None = None
        self._socket_folder: Path | None = None
        self._control: ControlServer | None = None
        self._advertisement: Advertisement | None = None
        self._owner = os.getpid()

    def start(self) -> Self:
        """Start every part and wait until all serve.

        Raises
        ------
        StackError
            One does not; the message names it, with the end of its log and what to do.
        """
        limits.raise_open_files()
        # Not above: `python -m harness.stack.toxiproxy` would find itself imported already.
        from harness.stack import toxiproxy

        try:
            binary = toxiproxy.obtain(self._say)
            self._reaper = Reaper()
            self._folder = scratch_folder(self._reaper)
            if self.options.advertise:
                cache_folder(ADVERTISED)  # what can't be written is said before anything starts
                self._socket_folder = self._folder
                if not fits_a_socket(self._folder / _CONTROL):
                    self._socket_folder = scratch_folder(self._reaper, for_socket=_CONTROL)
            if self.options.keep_logs:
                self._reaper.forget(self._folder)
            for attempt in range(_ATTEMPTS):
                try:
                    self._start_parts(binary, self._reaper)
                    break
                except PortTakenError:
                    self._stop_parts()
                    if attempt == _ATTEMPTS - 1:
                        raise
            if self._socket_folder is not None:
                self._control = ControlServer(self, self._socket_folder / _CONTROL)
                self._advertisement = Advertisement(self, self._control.path)
                self._reaper.watch_path(self._advertisement.path)
        except BaseException:
            # Ctrl-C may come between the start of a process and the note of it.
            self.stop(sweep=True)
            raise
        return self

    def stop(self, *, sweep: bool = False) -> None:
        """End every part and leave nothing behind; once is enough, more does no harm.

        Parameters
        ----------
        sweep : look for processes that were started and are not known as parts.
        """
        if os.getpid() != self._owner or self._reaper is None:
            return  # a fork of the owner has no say, and what was not started needs no end
        if self._control is not None:
            self._control.close()
        if self._advertisement is not None:
            self._advertisement.remove()
        self._stop_parts()
        if self._socket_folder not in {None, self._folder}:
            remove(self._socket_folder)
        if self._folder is not None and not self.options.keep_logs:
            remove(self._folder)
        self._reaper.close(sweep=sweep)
        self._reaper = None

    def __enter__(self) -> Self:
        return self if self.parts else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log_folder(self) -> Path:
        """Where the parts' logs are."""
        folder = self.options.log_folder or self._folder
        if folder is None:
            raise StackError("the stack was not started")
        return folder

    @property
    def permission(self) -> Permission:
        """To do anything to it: its processes are ours."""
        return of_own_stack(self)

    def environment(self) -> dict[str, str]:
        """Return the target under the requirements' names, secrets included."""
        return self.target.environment()

    def pid(self, name: str) -> int | None:
        """Return the process id of a part, None while it is down."""
        return self.part(name).pid

    def part(self, name: str) -> StackProcess:
        """Return a part.

        Raises
        ------
        StackError
            There is none of that name.
        """
        if name not in self.parts:
            raise StackError(f"no part {name!r} in this stack: there are {', '.join(self.parts)}")
        return self.parts[name]

    def kill(self, name: str) -> None:
        """End a part and all its descendants by SIGKILL; wait until they are gone."""
        self.part(name).kill()

    def terminate(self, name: str) -> None:
        """Ask a part to end in order; does not wait."""
        self.part(name).terminate()

    def pause(self, name: str) -> None:
        """Stop a part in its tracks until :meth:`resume`."""
        self.part(name).pause()

    def resume(self, name: str) -> None:
        """Let a paused part go on."""
        self.part(name).resume()

    def restart(self, name: str) -> None:
        """End a part in order if it runs, start it on the same port, wait until it serves.

        A Toxiproxy that comes back gets its proxies back too, without toxics.
        """
        self.part(name).restart(_RESTART_GRACE_S, _READY_S)
        if name == "toxiproxy":
            self._make_proxies()

    def _start_parts(self, binary: Binary, reaper: Reaper) -> None:
        from harness.stack import toxiproxy

        options = self.options
        self._block = block = PortBlock()
        self.parts = {}
        make_folder(self.log_folder, exist_ok=True)
        self.versions["toxiproxy"] = binary.version
        inherited = inherited_environment()
        control_token = secrets.token_urlsafe(24)

        self._launch(toxiproxy.spec(binary, block.take(), self._log("toxiproxy")), reaper)
        if options.pubnub is None:
            emulator = pubnub.spec(
                block.take(), self._log("pubnub"), inherited, control_token=control_token, folder=PROJECT
            )
            self._launch(emulator, reaper)
        self.postgres = postgres = Postgres(
            max_connections=options.max_connections,
            settings=options.postgres,
            log_path=self._log("postgres"),
            port=block.take(),
            reaper=reaper,
        )
        self.parts["postgres"] = postgres.launch()
        self.versions["postgres"] = postgres.installation.version

        service_ports = [block.take() for _ in range(options.replicas)]
        self._routes = self._routing(block, service_ports)
        self.proxies = Proxies(f"http://{self.parts['toxiproxy'].endpoint}")
        self.target = self._describe(postgres, control_token)
        wait_until_ready([self.parts["toxiproxy"]], _READY_S)
        self._make_proxies()
        wait_until_ready([self.parts["postgres"]], _READY_S)
        for number, port in enumerate(service_ports, start=1):
            name = f"service-{number}"
            environment = inherited | self._service_environment(number, postgres)
            self._launch(service.spec(name, port, self._log(name), environment, folder=PROJECT), reaper)
        wait_until_ready(self.parts.values(), _READY_S)

    def _routing(self, block: PortBlock, service_ports: list[int]) -> Mapping[str, tuple[str, str]]:
        """Return proxy -> (where it listens, where it leads)."""
        upstreams = {SERVICE_POSTGRES: self.parts["postgres"].endpoint}
        if "pubnub" in self.parts:
            upstreams[SERVICE_PUBNUB] = upstreams[PLAYERS_PUBNUB] = self.parts["pubnub"].endpoint
        for number, port in enumerate(service_ports, start=1):
            upstreams[LOAD_SERVICE if number == 1 else f"{LOAD_SERVICE}-{number}"] = f"{HOST}:{port}"
        routes = {name: (f"{HOST}:{block.take()}", upstream) for name, upstream in upstreams.items()}
        return MappingProxyType(routes)

    def _make_proxies(self) -> None:
        for name, (listen, upstream) in self._routes.items():
            self.proxies.create(name, listen, upstream)

    def _describe(self, postgres: Postgres, control_token: str) -> Target:
        listen = {name: f"http://{route[0]}" for name, route in self._routes.items()}
        self.service_urls = [url for name, url in listen.items() if name.startswith(LOAD_SERVICE)]
        real = self.options.pubnub
        return Target(
            service_url=listen[LOAD_SERVICE],
            service_role_key=secrets.token_urlsafe(24),
            cron_secret=secrets.token_urlsafe(24),
            pubnub_publish_key=real.publish_key if real else f"pub-c-{secrets.token_hex(12)}",
            pubnub_subscribe_key=real.subscribe_key if real else f"sub-c-{secrets.token_hex(12)}",
            pubnub_origin=real.origin if real else listen[PLAYERS_PUBNUB],
            database_url=postgres.url,
            toxiproxy_url=self.proxies.url,
            pubnub_control_url=None if real else f"http://{self.parts['pubnub'].endpoint}",
            pubnub_control_token=None if real else control_token,
            flags_file=str(self._flags_file()),
            origin="embedded",
        )

    def _service_environment(self, number: int, postgres: Postgres) -> dict[str, str]:
        """Return what replica ``number`` is told: Postgres and PubNub through their proxies."""
        target = self.target
        host, _, port = self._routes[SERVICE_POSTGRES][0].partition(":")
        through = self._routes.get(SERVICE_PUBNUB)
        return {
            "SUPABASE_URL": self.service_urls[number - 1],
            "SUPABASE_SERVICE_ROLE_KEY": target.service_role_key,
            "CRON_SECRET": target.cron_secret,
            "PUBNUB_PUBLISH_KEY": target.pubnub_publish_key,
            "PUBNUB_SUBSCRIBE_KEY": target.pubnub_subscribe_key,
            "PUBNUB_ORIGIN": f"http://{through[0]}" if through else target.pubnub_origin,
            "DATABASE_URL": postgres.url_for(OWNER, host, int(port)),
            "LOG_LEVEL": "INFO",
            "ENVIRONMENT": "local",
            "ENABLE_TIMER_MONITORING": "true",
            "ENABLE_PUBNUB_BROADCASTING": "true",
            "ENABLE_GRACE_PERIOD": "true",
            "FLAGS_FILE": str(self._flags_file()),
            **self.options.service_env,
        }

    def _flags_file(self) -> Path:
        """Return the file that turns the flags of all replicas; while it is not there, none is turned."""
        assert self._folder is not None
        return self._folder / "flags.env"

    def _launch(self, spec: ProcessSpec, reaper: Reaper) -> None:
        part = self.parts[spec.name] = StackProcess(spec, reaper)
        part.start()

    def _log(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"

    def _stop_parts(self) -> None:
        services = [part for name, part in self.parts.items() if name.startswith("service-")]
        stop_all(services, _SERVICE_GRACE_S)
        stop_all([part for part in self.parts.values() if part not in services], _GRACE_S)
        if self.postgres is not None:
            self.postgres.stop()
            self.postgres = None
        if self._block is not None:
            self._block.release()
            self._block = None


def inherited_environment() -> dict[str, str]:
    """Return what of our environment a part sees."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"PYTHONUNBUFFERED": "1"}


def start_stack(options: StackOptions | None = None, *, say: Callable[[str], None] = lambda _: None) -> Stack:
    """Start a stack and return it; end it by ``with`` or by :meth:`Stack.stop`.

    Parameters
    ----------
    options : what it is made of; by default one replica, everything local.
    say : told, a line at a time, about what takes long (obtaining Toxiproxy for the first time).

    Raises
    ------
    StackError
        A part can't be had or does not come up.
    """
    web_proxies.leave_out()
    return Stack(options, say=say).start()

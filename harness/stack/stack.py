"""All local processes of a run, wired through their proxies: started together, gone together."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from harness import limits, web_proxies
from harness.files import make_folder
from harness.process import ProcessSpec, Reaper, remove, stop_all, wait_until_ready
from harness.stack import pubnub, toxiproxy
from harness.stack import system as parts_of_system
from harness.stack.control import SOCKET, ControlServer, stacks_folder
from harness.stack.errors import PortTakenError, StackError
from harness.stack.folders import scratch_folder
from harness.stack.ports import PortBlock
from harness.stack.postgres import Postgres
from harness.stack.process import StackProcess
from harness.stack.proxies import Proxies
from harness.stack.wiring import Emulator, RealPubNub, Wiring, addresses, wire
from harness.system import System, find_system
from harness.target import Permission, Target
from harness.target.consent import of_own_stack

#: What of the starter's environment the processes may see: nothing that could change what they are.
_INHERITED: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"),
    *("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
)
#: Generous: it only matters where something is wrong, or the machine is busy with much else.
_READY_S: Final = 60.0
_ATTEMPTS: Final = 3
#: The service ends first, while all that it talks to still answers; both together stay under 2 s.
_SERVICE_GRACE_S: Final = 0.8
_GRACE_S: Final = 0.7
#: What a process may take to end when it is restarted on purpose.
_RESTART_GRACE_S: Final = 15.0


@dataclass(frozen=True)
class StackOptions:
    """What a stack is made of."""

    #: What is put to the test. None: the system that is named.
    system: type[System] | None = None
    #: Processes of the service. The first is behind the proxy `load-service`, the others behind
    #: `load-service-2` and so on, as a proxy has one upstream.
    replicas: int = 1
    #: Toxiproxy processes. All but the first of several are for players alone, who share them.
    toxiproxies: int = 1
    #: Further environment of the service (flags, addresses of alert sinks).
    service_env: Mapping[str, str] = field(default_factory=dict)
    #: Where the service's processes are run, another checkout; None: where the system's file says.
    folder: Path | None = None
    #: Where each process's output goes, one file a process; by default a temporary folder that goes away.
    log_folder: Path | None = None
    #: Keep the temporary folder's logs after the end, for looking into.
    keep_logs: bool = False
    max_connections: int = 100
    #: Further settings of Postgres.
    postgres: Mapping[str, str] = field(default_factory=dict)
    #: None: the emulator, where the system needs PubNub.
    pubnub: RealPubNub | None = None
    #: Let `stormwatch fault` find it.
    advertise: bool = True


class Stack:
    """The processes of a local run. Use :func:`start_stack`, or ``with Stack(options) as stack``.

    Attributes
    ----------
    system : the system under test.
    parts : name -> process: ``postgres``, ``toxiproxy``, ``toxiproxy-2`` ..., ``pubnub``, ``service-1`` ...
    versions : of Postgres and Toxiproxy.

    Raises
    ------
    StackError
        No stack can be made of these options.
    SystemFileError
        No system is named, or none that can be used.
    """

    def __init__(
        self, options: StackOptions | None = None, *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.options = options or StackOptions()
        if self.options.replicas < 1:
            raise StackError(f"replicas={self.options.replicas}: at least one is needed")
        self.system = self.options.system or find_system()
        self.id = secrets.token_hex(3)
        self.parts: dict[str, StackProcess] = {}
        self.postgres: Postgres | None = None
        self.versions: dict[str, str] = {}
        self._say = say
        self._wiring: Wiring | None = None
        self._reaper: Reaper | None = None
        self._block: PortBlock | None = None
        self._folder: Path | None = None
        self._control: ControlServer | None = None
        self._owner = os.getpid()

    def start(self) -> Self:
        """Start every process and wait until all serve.

        Raises
        ------
        StackError
            One does not; the message names it, with the end of its log and what to do.
        """
        limits.raise_open_files()
        advertise = self.options.advertise
        try:
            binary = toxiproxy.obtain(self._say)
            self.versions["toxiproxy"] = binary.version
            self._reaper = reaper = Reaper()
            if advertise:
                stacks_folder()  # what can't be written is said before anything starts
            self._folder = folder = scratch_folder(reaper, for_socket=SOCKET if advertise else "")
            if self.options.keep_logs:
                reaper.forget(folder)
            self._start_on_free_ports(binary, folder)
            if advertise:
                self._control = ControlServer(self, folder)
                reaper.watch_path(self._control.entry)
        except BaseException:
            # Ctrl-C may come between the start of a process and the note of it.
            self.stop(sweep=True)
            raise
        return self

    def stop(self, *, sweep: bool = False) -> None:
        """End every process and leave nothing behind; once is enough, more does no harm.

        Parameters
        ----------
        sweep : look for processes that were started and are not known.
        """
        if os.getpid() != self._owner or self._reaper is None:
            return  # a fork of the owner has no say, and what was not started needs no end
        if self._control is not None:
            self._control.close()
        self._stop_processes()
        if self._folder is not None and not self.options.keep_logs:
            remove(self._folder)
        self._reaper.close(sweep=sweep)
        self._reaper = None

    def __enter__(self) -> Self:
        return self if self.parts else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def proxies(self) -> Proxies:
        """Client of the Toxiproxy that all traffic passes."""
        return self._wired.proxies

    @property
    def target(self) -> Target:
        """Where the system under test is: itself and PubNub through their proxies, the database directly."""
        return self._wired.target

    @property
    def service_urls(self) -> list[str]:
        """One address a replica, each through a proxy."""
        return self._wired.service_urls

    @property
    def log_folder(self) -> Path:
        """Where the processes' logs are."""
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
        """Return a process id, None while the process is down."""
        return self.part(name).pid

    def part(self, name: str) -> StackProcess:
        """Return a process.

        Raises
        ------
        StackError
            There is none of that name.
        """
        if name not in self.parts:
            raise StackError(f"no part {name!r} in this stack: there are {', '.join(self.parts)}")
        return self.parts[name]

    def kill(self, name: str) -> None:
        """End a process and all its descendants by SIGKILL; wait until they are gone."""
        self.part(name).kill()

    def terminate(self, name: str) -> None:
        """Ask a process to end in order; does not wait."""
        self.part(name).terminate()

    def pause(self, name: str) -> None:
        """Stop a process in its tracks until :meth:`resume`."""
        self.part(name).pause()

    def resume(self, name: str) -> None:
        """Let a paused process go on."""
        self.part(name).resume()

    def restart(self, name: str) -> None:
        """End a process in order if it runs, start it on the same port, wait until it serves.

        A Toxiproxy that comes back gets its proxies back too, without toxics.
        """
        self.part(name).restart(_RESTART_GRACE_S, _READY_S)
        if name in (servers := self._toxiproxies()):
            self._wired.make_proxies(servers.index(name))

    @property
    def _wired(self) -> Wiring:
        if self._wiring is None:
            raise StackError("the stack was not started")
        return self._wiring

    def _start_on_free_ports(self, binary: toxiproxy.Binary, folder: Path) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start_processes(binary, folder)
            except PortTakenError:
                self._stop_processes()
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _start_processes(self, binary: toxiproxy.Binary, folder: Path) -> None:
        make_folder(self.log_folder, exist_ok=True)
        self.parts = {}
        self._block = block = PortBlock()
        needs = self.system.needs
        servers = [
            self._launch(toxiproxy.spec(binary, block.take(), self._log(name), name))
            for name in self._toxiproxies()
        ]
        messages = (self.options.pubnub or self._start_emulator(block.take())) if "pubnub" in needs else None
        postgres = self._start_postgres(block.take()) if "postgres" in needs else None
        ports = [block.take() for _ in range(self.options.replicas)]
        urls = [f"http://{server.endpoint}" for server in servers]
        self._wiring = wiring = wire(block.take, urls, postgres, ports, messages, folder / "flags.env")
        wait_until_ready(servers, _READY_S)
        wiring.make_proxies(*range(len(servers)))
        if postgres is not None:
            postgres.process.wait_until_ready(_READY_S)
        for number, port in enumerate(ports, start=1):
            self._start_replica(number, port)
        wait_until_ready(self.parts.values(), _READY_S)

    def _start_replica(self, number: int, port: int) -> None:
        local = self._wired.local(number, self.postgres)
        for program in parts_of_system.programs_of(self.system, self.target, local):
            name = f"{program.name}-{number}"
            placed = replace(program, folder=self.options.folder or program.folder)
            environment = {**inherited_environment(), **program.environment, **self.options.service_env}
            self._launch(parts_of_system.spec(self.system, placed, name, port, self._log(name), environment))

    def _start_emulator(self, port: int) -> Emulator:
        token, log = secrets.token_urlsafe(24), self._log("pubnub")
        hosts = addresses(self.options.toxiproxies - 1)
        spec = pubnub.spec(port, log, inherited_environment(), control_token=token, hosts=hosts)
        return Emulator(self._launch(spec).endpoint, token)

    def _start_postgres(self, port: int) -> Postgres:
        self.postgres = postgres = Postgres(
            max_connections=self.options.max_connections,
            settings=self.options.postgres,
            log_path=self._log("postgres"),
            port=port,
            reaper=self._reaper,
        )
        self.parts["postgres"] = postgres.launch()
        self.versions["postgres"] = postgres.installation.version
        return postgres

    def _launch(self, spec: ProcessSpec) -> StackProcess:
        process = self.parts[spec.name] = StackProcess(spec, self._reaper)
        return process.start()

    def _toxiproxies(self) -> list[str]:
        return [toxiproxy.part_name(at) for at in range(self.options.toxiproxies)]

    def _log(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"

    def _stop_processes(self) -> None:
        systems = [process for name, process in self.parts.items() if is_of_system(name)]
        stop_all(systems, _SERVICE_GRACE_S)
        stop_all([process for process in self.parts.values() if process not in systems], _GRACE_S)
        if self.postgres is not None:
            self.postgres.stop()
            self.postgres = None
        if self._block is not None:
            self._block.release()
            self._block = None


def is_of_system(name: str) -> bool:
    """Tell whether a process of a stack is one of the system under test."""
    return name not in {"pubnub", "postgres"} and not toxiproxy.is_part(name)


def inherited_environment() -> dict[str, str]:
    """Return what of our environment a process of the stack sees."""
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
        A process can't be had or does not come up.
    """
    web_proxies.leave_out()
    return Stack(options, say=say).start()

"""Runs the service in uvicorn: socket, signals, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from service.app import Service, StartError
from service.http.connection import Connections
from service.logs import get_logger
from service.settings import Settings

log = get_logger(__name__)

#: Longer than clients and proxies keep idle connections, so that none is cut as it is used again.
_KEEP_ALIVE_S = 75
#: Descriptors for all but clients and the connections that settings count: files, alerts, health.
_OTHER_FILES = 100


class _Server(uvicorn.Server):
    """A server that leaves signals to us: after an orderly stop, the exit code is 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises
    ------
    StartError
        The address is taken, or the database does not answer.
    SettingsError, MigrationError
        A setting or a migration is wrong.
    """
    service = Service(settings)
    connections = Connections(service.metrics, most=_most_connections(settings))
    listener = _listen(settings.host, settings.port)
    uvicorn_config = uvicorn.Config(
        service.application(),
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_limit)),
    )
    with asyncio.Runner(loop_factory=uvicorn_config.get_loop_factory()) as runner:
        runner.run(_serve(service, connections, _Server(uvicorn_config), listener))


async def _serve(
    service: Service, connections: Connections, server: _Server, listener: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end(number: int) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        # A second signal does not wait for what is in flight.
        server.force_exit = server.should_exit
        server.should_exit = True
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, service.flags.look)
    service.metrics.watch_connections(lambda: len(server.server_state.connections))
    starting = asyncio.create_task(service.start())
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    watching = asyncio.create_task(connections.watch())
    try:
        host, port = listener.getsockname()[:2]
        log.info("listening", url=f"http://{host}:{port}", version=server.config.app.version)  # type: ignore[union-attr]  # always our app
        await server.serve(sockets=[listener])
    finally:
        watching.cancel()
        await service.stop()


def _most_connections(settings: Settings) -> int:
    """Return how many connections may be open, so that our own can still be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ours = settings.pool_size + settings.relay_concurrency + _OTHER_FILES
    if hard == resource.RLIM_INFINITY:
        return sys.maxsize
    if hard <= ours:
        raise StartError(f"{hard} open files are too few, {ours} are ours alone: raise `ulimit -n`")
    return hard - ours


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Callers wait in line from now on, until the service has started.
        listener.listen(2048)
    except OSError as error:
        raise StartError(f"can't listen at {host}:{port} (HOST, PORT): {error.strerror or error}") from error
    return listener

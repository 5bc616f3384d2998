"""Runs the service in uvicorn: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from service.app import Service, StartError
from service.logs import get_logger
from service.settings import Settings

log = get_logger(__name__)

#: Longer than clients and proxies keep idle connections, so that none is cut as it is used again.
_KEEP_ALIVE_S = 75


class _Server(uvicorn.Server):
    """A server that leaves signals to us: ended by SIGTERM after all was finished, it ended well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises
    ------
    StartError
        The address is taken, or a part does not come up.
    SettingsError, MigrationError
        As in the parts' own words.
    """
    service = Service(settings)
    listener = _listen(settings.host, settings.port)
    uvicorn_config = uvicorn.Config(
        service.application(),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_limit)),
    )
    with asyncio.Runner(loop_factory=uvicorn_config.get_loop_factory()) as runner:
        runner.run(_serve(service, _Server(uvicorn_config), listener))


async def _serve(service: Service, server: _Server, listener: socket.socket) -> None:
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
    try:
        host, port = listener.getsockname()[:2]
        log.info("listening", url=f"http://{host}:{port}", version=server.config.app.version)  # type: ignore[union-attr]  # always our app
        await server.serve(sockets=[listener])
    finally:
        await service.stop()


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

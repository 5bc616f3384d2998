"""Ties runs to Locust: options, init, stop, quit, and the shape by which games begin in waves."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.event import Event
from locust import LoadTestShape
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import Events
from locust.runners import MasterRunner, WorkerRunner
from locust.web import WebUI

from harness import limits, web_proxies
from harness.live.followed import Followed
from harness.live.prometheus import MetricsRefused, served
from harness.live.tab import register as register_tab
from harness.load.director import CannotBegin, Director
from harness.load.master import end_without_workers, refuse_garbage
from harness.load.options import OptionError, add_options
from harness.load.origins import origins, origins_of_ours, parsed, profile_options, take_over
from harness.load.run import INTERRUPTED_DRAIN_S
from harness.load.web_form import check_forms
from harness.load.web_guard import WebRefused, guard
from harness.load.worker_link import WorkerLink
from harness.load.workers import LocalWorker, RemoteWorkers
from harness.output import Exit, plain
from harness.system import SystemFileError

log = logging.getLogger(__name__)

#: How often a forked worker looks whether its master is still there.
_MASTER_CHECK_S: Final = 1.0

#: Where a master listens for workers, unless it is told otherwise.
_MASTER_HOST: Final = "127.0.0.1"


def register(events: Events) -> None:
    """Have Locust offer the load's options, and direct its runs: :class:`Waves` are their shape.

    The scenario's file needs no shape of its own; one that has another is refused, as nobody would direct it.
    """
    web_proxies.leave_out()
    limits.raise_open_files()
    refuse_garbage()
    lifecycle = _Lifecycle()
    events.init_command_line_parser.add_listener(lifecycle.prepare_parser)
    events.init.add_listener(lifecycle.begin)
    gevent.spawn(lifecycle.end_when_orphaned, os.getpid())


class Waves(LoadTestShape):
    """Games begin in waves, are judged for a while, and are drained: as the director says."""

    # --users, --spawn-rate and --run-time are read by `take_over`: Locust need not warn about them.
    use_common_options = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust has no types there
        self._tick: Callable[[], tuple[int, float] | None] = lambda: None

    def tick(self) -> tuple[int, float] | None:
        """Return how many games there should be, or None when the run is over."""
        return self._tick()

    def directed_by(self, tick: Callable[[], tuple[int, float] | None]) -> None:
        """Let ``tick`` decide from now on."""
        self._tick = tick
        # In the web form, ours are the only fields that count.
        Waves.use_common_options = False


class _Lifecycle:
    """What one Locust process is, from its command line to its end: director or worker."""

    def __init__(self) -> None:
        #: Where the options came from; None: they have not been read yet.
        self._origins: dict[str, str] | None = None
        #: Values that the web form shows in the place of defaults.
        self._form: dict[str, Any] = {}
        #: Where this process may write. A worker's options become its master's as soon as that has it play.
        self._reports = Path()
        self._worker: WorkerLink | None = None

    def prepare_parser(self, parser: LocustArgumentParser) -> None:
        """Add the load's options to Locust's parser."""
        # Locust makes its parser right before it reads the command line, and again for each look at its page.
        if self._origins is not None:
            add_options(parser, self._form)
            return
        try:
            add_options(parser, profile_options()[1])
        except (OptionError, SystemFileError) as error:
            parser.error(str(error))
        # A master tells whoever joins where the target is, secrets included: only this machine may join.
        parser.set_defaults(master_bind_host=_MASTER_HOST)
        given = parsed(parser)
        self._origins = origins(parser, given)
        self._reports = Path(given.reports).absolute()
        if (given.master or given.processes) and not given.worker:
            # The last chance to say no before Locust forks.
            try:
                host = "" if given.master_bind_host == "*" else given.master_bind_host
                _see_that_it_is_free("Locust's master", host, given.master_bind_port, "--master-bind-port")
            except CannotBegin as error:
                parser.error(str(error))

    def begin(self, environment: Environment, runner: Any, web_ui: WebUI | None, **_: Any) -> None:
        """Be a worker, or direct."""
        given = environment.parsed_options
        if given is None:
            raise TypeError("this scenario is run by the locust command: it needs its options")
        _be_interrupted_in_order()
        if isinstance(runner, WorkerRunner):
            self._take_part(environment, runner)
        else:
            self._direct(environment, runner, web_ui, given)

    def _direct(
        self, environment: Environment, runner: Any, web_ui: WebUI | None, given: argparse.Namespace
    ) -> None:
        """Get the target ready, direct runs, put everything away in the end."""
        for line in take_over(given, self._origins or {}):
            log.warning("%s", line)
        if notice := web_proxies.notice():
            log.warning("%s", notice)
        self._form.update({key: getattr(given, key) for key in origins_of_ours(given)})
        workers = RemoteWorkers(runner) if isinstance(runner, MasterRunner) else LocalWorker(self._reports)
        with _refused_in_a_line():
            waves = _shape_of(environment, runner)
            if web_ui is not None:
                _see_that_it_is_free("the web UI", web_ui.host, web_ui.port, "--web-port")
                how = guard(web_ui, given.web_host_display_name, given.web_base_path)
                log.info("the web UI listens on %s", how)
            followed = Followed() if web_ui is None else register_tab(web_ui, given.web_base_path)
            metrics = ExitStack()
            metrics.enter_context(served(given.prometheus, followed.document))
            director = Director.prepared(environment, workers, given)
        if isinstance(runner, MasterRunner) and (given.headless or given.autostart):
            gevent.spawn(end_without_workers, runner, given, director.close)
        if web_ui is not None:
            check_forms(web_ui, given, lambda: director.folder is not None, director.see_that_it_fits)
        is_shown = web_ui is not None or given.prometheus is not None
        _direct_runs(environment, director, waves, followed if is_shown else None)
        environment.events.quitting.add_listener(lambda **_: metrics.close())

    def _take_part(self, environment: Environment, runner: WorkerRunner) -> None:
        """Play when the master says so, and end with it."""
        self._worker = worker = WorkerLink(runner, self._reports)

        def quit_in_order(**_: Any) -> None:
            _leave_it_to_the_main_greenlet()
            worker.end(INTERRUPTED_DRAIN_S)
            # Failed requests are for the verdict, not for a worker's exit code.
            environment.process_exit_code = 0

        environment.events.quitting.add_listener(quit_in_order)
        gevent.spawn(worker.end_without_master)

    def end_when_orphaned(self, pid: int) -> None:
        """In a worker that ``--processes`` forked from ``pid``: end with its master, however that ended.

        Begun before the fork, this goes on in both. Locust's own workers notice a killed master after a
        minute, and one that could not even begin (its port is in use, its target is not there) never.
        """
        while os.getpid() == pid or os.getppid() == pid:
            gevent.sleep(_MASTER_CHECK_S)
        if self._worker is not None and self._worker.abandon():
            log.error("the master is gone: this worker ends in the middle of the run")
        os._exit(1)


def _shape_of(environment: Environment, runner: Any) -> Waves:
    """Return the shape of the runs; raises :class:`CannotBegin` where the scenario brings another."""
    shape = environment.shape_class
    if shape is None:
        environment.shape_class = shape = Waves()
        shape.runner = runner
    if not isinstance(shape, Waves):
        raise CannotBegin(
            f"the scenario has a shape of its own, {type(shape).__name__}: take it out, for --games and "
            "--duration say how many play, and for how long"
        )
    return shape


def _direct_runs(
    environment: Environment, director: Director, waves: Waves, followed: Followed | None
) -> None:
    """Have Locust ask the director, tell it of ends, and show its runs."""

    def tick() -> tuple[int, float] | None:
        wanted = director.tick()
        if followed is not None and director.folder is not None:
            followed.follow(director.folder)
        return wanted

    def end_run(**_: Any) -> None:
        try:
            director.end()
        finally:
            if followed is not None:
                followed.stop()

    def quit_in_order(**_: Any) -> None:
        _leave_it_to_the_main_greenlet()
        end_run()
        director.close()
        environment.process_exit_code = director.exit_code

    waves.directed_by(tick)
    environment.events.test_stop.add_listener(end_run)
    environment.events.quitting.add_listener(quit_in_order)


@contextmanager
def _refused_in_a_line() -> Iterator[None]:
    """End the process with a line and an exit code if the load can't begin, or is interrupted before."""
    try:
        yield
    except (CannotBegin, MetricsRefused, WebRefused) as error:
        print(plain(f"stormwatch: {error}"), file=sys.stderr)
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        print("stormwatch: interrupted before the run began", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)


def _be_interrupted_in_order() -> None:
    """Have Ctrl-C, and SIGTERM too, interrupt the main greenlet, where Locust waits for it.

    Python would raise KeyboardInterrupt in whichever greenlet happens to run: a player in the middle of
    a call, or the history's writer in the middle of a batch.
    """

    def interrupt() -> None:
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, interrupt)


def _leave_it_to_the_main_greenlet() -> None:
    """Let a shutdown that Locust's own handler of SIGTERM began wait for that of the main greenlet to exit.

    Locust sets its handler once it waits; ours is there from the begin, and both are called.
    """
    if gevent.getcurrent() is not gevent.get_hub().parent:
        Event().wait()


def _see_that_it_is_free(who: str, host: str, port: int, option: str) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise CannotBegin(
            f"{who} can't listen on {host or '*'}:{port}: {reason}; choose another with {option}"
        ) from error

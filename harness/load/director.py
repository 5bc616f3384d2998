"""Directs runs in the master or in the only process: one after the other, on one target."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from locust.env import Environment

from harness.files import DocumentError, make_folder
from harness.history import RunFolder, create_run
from harness.load.capacity import see_that_it_fits_here
from harness.load.observers import ObserverError
from harness.load.options import OptionError, load_options
from harness.load.origins import in_words
from harness.load.reporting import about_run, doubts_from_the_start, judge
from harness.load.run import Run, Unplayable
from harness.load.target import LoadTarget, find_target
from harness.load.worker_run import RunSpec
from harness.load.workers import Workers, WorkersError
from harness.load_options import LoadOptions
from harness.observe.looks import TargetUnusable
from harness.output import Exit
from harness.stack import StackError
from harness.system import SystemFileError, find_system
from harness.system.beside import put_to_the_test
from harness.system.find import place_of
from harness.target import ConsentError, TargetError
from harness.target.marks import new_prefix

log = logging.getLogger(__name__)

_FORESEEN = (
    OptionError,
    SystemFileError,
    TargetError,
    ConsentError,
    TargetUnusable,
    DocumentError,
    StackError,
)


class CannotBegin(Exception):
    """The run can't begin; one line names the thing and the way out."""


class Director:
    """One run after the other, on one target.

    Parameters
    ----------
    environment : Locust's.
    workers : who plays.
    given : the command line, or what the web form made of it.
    target : what is loaded.
    first_folder : the folder of the first run, if the target's logs are there already.
    """

    def __init__(
        self,
        environment: Environment,
        workers: Workers,
        given: argparse.Namespace,
        target: LoadTarget,
        first_folder: RunFolder | None,
    ) -> None:
        self.exit_code = 0
        self._environment = environment
        self._workers = workers
        self._given = given
        self._target = target
        self._next_folder = first_folder
        self._run: Run | None = None

    @classmethod
    def prepared(cls, environment: Environment, workers: Workers, given: argparse.Namespace) -> Self:
        """Return a director once its target is found or started, and can be driven.

        Raises
        ------
        CannotBegin
            It can't be, or there is nowhere to write.
        """
        folder: RunFolder | None = None

        def logs() -> Path | None:
            nonlocal folder
            if not given.headless:
                return None  # which run it will be is not known yet
            folder = _new_folder(given)
            return folder.logs

        try:
            options = load_options(given)
            put_to_the_test(given.system)
            _see_that_it_can_be_written(Path(given.reports))
            target = find_target(environment, given, options, logs)
        except BaseException as error:  # Ctrl-C as well
            if folder is not None:
                _remove(folder)
            if isinstance(error, _FORESEEN):
                raise CannotBegin(str(error)) from error
            raise
        return cls(environment, workers, given, target, folder)

    @property
    def folder(self) -> RunFolder | None:
        """Where the run of now is recorded; None between runs."""
        return None if self._run is None else self._run.folder

    def see_that_it_fits(self, options: LoadOptions) -> None:
        """See that this machine can play ``options``; raises :class:`OptionError` with the numbers."""
        see_that_it_fits_here(options, self._given, toxiproxies=self._target.toxiproxies)

    def close(self) -> None:
        """Stop what was started; remove the folder of a run that never began."""
        self._target.stop()
        if self._next_folder is not None:
            _remove(self._next_folder)
            self._next_folder = None

    def tick(self) -> tuple[int, float] | None:
        """Say how many games there should be now, and how many may be spawned a second; None ends the run.

        Called about each second while a run goes on; the first call begins it.
        """
        if self._run is None:
            try:
                self._run = self._begin()
                self.exit_code = 0
            except CannotBegin as error:
                log.error("%s", error)  # noqa: TRY400 - foreseen: no traceback - the message says it all
                self.exit_code = Exit.USAGE
                return None
        try:
            goes_on = self._run.advance()
        except Unplayable as error:
            self._give_up(self._run, str(error))
            return None
        if not goes_on:
            return None
        options = self._run.options
        return options.spawned(self._run.elapsed_s), float(options.wave_size)

    def end(self) -> None:
        """End the run of now, if there is one, and have it judged; a second caller waits for the first."""
        run = self._run
        if run is None:
            return
        if run.ending:
            run.ended.wait()
            return
        try:
            self.exit_code = Exit.NO_REPORT  # until it has one
            run.end()
            self.exit_code = 0 if self._given.no_report else judge(run.folder)
        finally:
            self._run = None
            run.ended.set()

    def _give_up(self, run: Run, why: str) -> None:
        """End a run that is none."""
        log.error("%s", why)
        self.exit_code, self._run = Exit.USAGE, None
        run.abandon()
        run.folder.update(refused=why)
        _remove(run.folder)

    def _begin(self) -> Run:
        # A run of the web UI may begin days after consent was given.
        if moved := self._target.permission.moved():
            raise CannotBegin(f"{moved}: nobody consented to that; start Locust again")
        try:
            options = load_options(self._given)
            self.see_that_it_fits(options)
            folder, self._next_folder = self._next_folder or _new_folder(self._given), None
        except (OptionError, DocumentError) as error:
            raise CannotBegin(str(error)) from error
        try:
            run = self._start(folder, options)
        except BaseException as error:  # Ctrl-C as well: this greenlet is killed then
            _remove(folder)
            self.exit_code = Exit.INTERRUPTED
            if isinstance(error, (ObserverError, WorkersError, DocumentError, OSError)):
                raise CannotBegin(str(error)) from error
            raise
        if origins := in_words(self._given):
            log.info("not left to defaults: %s", origins)
        log.info("the record of this run: %s", folder.path)
        return run

    def _start(self, folder: RunFolder, options: LoadOptions) -> Run:
        permission, given = self._target.permission, self._given
        alone = _given_folder() is None
        system = find_system(given.system)
        spec = RunSpec(
            folder.id, folder.path, new_prefix(), options, permission, place_of(system), anyway=given.anyway
        )
        doubts = doubts_from_the_start(system, permission, given)
        folder.update(
            **about_run(system, options, permission, given, alone=alone),
            game_prefix=spec.prefix,
            windows=[],
            missing=[doubt.entry() for doubt in doubts],
        )
        run = Run(
            folder,
            spec,
            self._target.processes,
            self._workers,
            self._environment,
            doubts,
            # Else a stack of our own is about to go with all that is in it.
            removes_games=not given.keep_games and not (permission.own and given.headless),
        )
        if alone:
            try:
                folder.point_latest_here()
            except BaseException:
                run.abandon()
                raise
        return run


def _given_folder() -> Path | None:
    """Return the run folder that `stormwatch run` or a testbed gave the load; None: it has none yet."""
    given = os.environ.get("STORMWATCH_RUN_DIR")
    return Path(given).absolute() if given else None


def _new_folder(given: argparse.Namespace) -> RunFolder:
    path = _given_folder()
    if path is None:
        return create_run(Path(given.reports).absolute(), "concurrent-games")
    folder = RunFolder(path)
    try:
        make_folder(folder.history, exist_ok=True)
        make_folder(folder.logs, exist_ok=True)
    except OSError as error:
        raise DocumentError(f"STORMWATCH_RUN_DIR={path}: {error.strerror}") from error
    return folder


def _remove(folder: RunFolder) -> None:
    """Remove the folder of a run that never began, unless it is another's."""
    if _given_folder() is None:
        shutil.rmtree(folder.path, ignore_errors=True)


def _see_that_it_can_be_written(reports: Path) -> None:
    try:
        make_folder(reports, exist_ok=True)
        with tempfile.TemporaryFile(dir=reports):
            pass
    except OSError as error:
        raise DocumentError(
            f"can't write to {reports}: {error.strerror}; "
            "give a writable folder with --reports or STORMWATCH_REPORTS"
        ) from error

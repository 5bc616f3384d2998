"""The target of the load: found or started, and seen to be one that can be driven."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from locust.env import Environment

from harness.load.capacity import Machine, see_that_it_fits_here, size_of, toxiproxies_for
from harness.load.plan import load_plan
from harness.load.preflight import check_drive, check_target
from harness.load.processes import WatchedProcesses
from harness.load_options import LoadOptions
from harness.observe.looks import earlier_runs
from harness.system import System, find_system
from harness.target import Action, Permission, Target, deployment_named, forget_deployment
from harness.target.consent import ask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadTarget:
    """A target that may be loaded and can be driven."""

    permission: Permission
    #: Its processes on this machine.
    processes: WatchedProcesses
    #: Ends what was started for it.
    stop: Callable[[], None] = lambda: None

    @property
    def toxiproxies(self) -> int:
        """Its Toxiproxy processes on this machine, as far as is known."""
        is_here = self.permission.own or bool(self.processes.names)
        return len(self.permission.target.toxiproxies) if is_here else 0


def find_target(
    environment: Environment,
    given: argparse.Namespace,
    options: LoadOptions,
    logs: Callable[[], Path | None],
) -> LoadTarget:
    """Return the deployment that was named, else a stack that is started now.

    Parameters
    ----------
    environment : Locust's; its host is set to the target's address.
    given : the command line.
    options : what is to be played.
    logs : returns the folder for the logs of a stack; None: one of the stack's own.

    Raises
    ------
    TargetError, ConsentError
        The environment names a deployment by halves, or nobody consented to load it.
    StackError
        The stack could not be started.
    TooLargeError
        This machine is too small for the load.
    TargetUnusable
        The target can't be driven.
    """
    system = find_system(given.system)
    if given.local:
        forget_deployment()
        environment.host = None
    if environment.host or deployment_named():
        found = _deployment(environment.host, options, system)
        see_that_it_fits_here(options, given, toxiproxies=found.toxiproxies)
    else:
        see_that_it_fits_here(options, given, toxiproxies=None)
        found = _own_stack(system, options, logs())
    try:
        _check(found.permission, system(found.permission.target), options)
    except BaseException:  # Ctrl-C too: no stack may stay behind
        found.stop()
        raise
    environment.host = found.permission.target.service_url
    return found


def _deployment(host: str | None, options: LoadOptions, system: type[System]) -> LoadTarget:
    target = Target.from_environment(host=host)
    plan, optional = load_plan(options, system), [Action.TICK, Action.WATCH]
    permission = ask(target, [Action.LOAD], plan, optional=optional, say=log.info)
    return LoadTarget(permission, WatchedProcesses.of_others(target))


def _own_stack(system: type[System], options: LoadOptions, logs: Path | None) -> LoadTarget:
    from harness.stack import StackOptions, start_stack

    toxiproxies = toxiproxies_for(size_of(options), Machine.here()) if "pubnub" in system.needs else 1
    spread = f", with {toxiproxies} Toxiproxy processes" if toxiproxies > 1 else ""
    log.info("starting a local stack%s", spread)
    stack = start_stack(StackOptions(system=system, toxiproxies=toxiproxies, log_folder=logs), say=log.info)
    return LoadTarget(stack.permission, WatchedProcesses.of_own(stack), stack.stop)


def _check(permission: Permission, system: System, options: LoadOptions) -> None:
    """See that the target can be driven, and warn of what is wrong with it all the same."""
    if ill := check_target(system):
        log.warning("the service says that it is unhealthy already: %s", ill)
    if unserved := check_drive(permission, system, options):
        log.warning("the service could not serve a first item: %s", unserved)
    if left := None if permission.own else earlier_runs(system):
        log.warning("what earlier runs made is left (%s): `stormwatch clean` removes it", ", ".join(left))

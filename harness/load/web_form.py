"""What the form of Locust's web UI may set: options of the load, checked before a run begins."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flask import Response, jsonify, request

from harness.load.lengths import options_of
from harness.load.options import OptionError, load_options
from harness.load.origins import WEB_FORM
from harness.load_options import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locust.env import Environment
    from locust.web import WebUI

#: Fields of Locust's that its page always sends.
_PROFILE: Final = frozenset({"profile"})
#: Locust's own fields for games, waves and the limit: off in the page, which sends them as 0 or empty.
_OFF: Final = {"user_count": "games", "spawn_rate": "wave_size", "run_time": "duration"}


def check_forms(
    web_ui: WebUI,
    given: argparse.Namespace,
    busy: Callable[[], bool],
    see_that_it_fits: Callable[[LoadOptions], None],
) -> None:
    """Have Locust's page show why a form can't be played, where Locust would say that it started.

    Parameters
    ----------
    web_ui : Locust's, not yet started.
    given : the options; what the form changes is noted as coming from there.
    busy : tells whether a run goes on.
    see_that_it_fits : raises :class:`OptionError` if this machine is too small for a load.
    """
    environment = web_ui.environment

    def check() -> Response | None:
        form = request.form.to_dict()
        reason = _reason_not_to_begin(environment, busy) or _reason_to_refuse(
            form, given, environment.host, see_that_it_fits
        )
        if reason is None:
            _note(form, given)
            return None
        return jsonify({"success": False, "message": reason, "host": environment.host})

    checked = web_ui.auth_required_if_enabled(check)
    assert web_ui.app is not None
    web_ui.app.before_request(lambda: checked() if request.endpoint == "locust.swarm" else None)


def _reason_not_to_begin(environment: Environment, busy: Callable[[], bool]) -> str | None:
    from locust.runners import MasterRunner

    if busy():
        return "A run goes on: stop it before another begins"
    if isinstance(environment.runner, MasterRunner) and not environment.runner.worker_count:
        return "No worker is connected yet: start one with --worker"
    return None


def _reason_to_refuse(
    form: Mapping[str, str],
    given: argparse.Namespace,
    host: str | None,
    see_that_it_fits: Callable[[LoadOptions], None],
) -> str | None:
    """Return why ``form``, set over the options ``given``, can't be played on ``host``; None: it can."""
    wanted = argparse.Namespace(**vars(given))
    wanted.origins = {}
    options = options_of(given)
    for name, value in form.items():
        if name in options:
            setattr(wanted, name, value)
        elif name == "host":
            if value.rstrip("/") not in {"", (host or "").rstrip("/")}:
                return f"host: a run stays on {host}; start Locust with --host for another"
        elif name in _OFF:
            if value not in {"", "0"}:
                return f"{name}: give {_OFF[name]} instead"
        elif name not in _PROFILE:
            near = difflib.get_close_matches(name, options, n=1)
            return f"{name[:40]}: no such option" + (f"; did you mean {near[0]}?" if near else "")
    if _sets(form, given, "duration"):
        wanted.run_limit_s = None
    try:
        see_that_it_fits(load_options(wanted))
    except OptionError as error:
        return str(error).removeprefix("--")
    return None


def _note(form: Mapping[str, str], given: argparse.Namespace) -> None:
    """Note in ``given`` what a form sets that Locust is about to take over."""
    options = options_of(given)
    changed = [name for name in form if name in options and _sets(form, given, name)]
    if "duration" in changed:
        given.run_limit_s = given.run_limit_from = None
    given.origins |= dict.fromkeys(changed, WEB_FORM)


def _sets(form: Mapping[str, str], given: argparse.Namespace, name: str) -> bool:
    return name in form and form[name] != str(getattr(given, name))

"""Who may use Locust's web UI: where it listens, who logs in, and which pages may change anything.

A page of another site can send forms to any address that its reader's browser reaches, and a name can be
made to lead here after the page was loaded (DNS rebinding). So changes need an Origin that is this page's
own, and every request needs a Host that nobody else can choose.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, request, session, url_for
from flask_login import LoginManager, login_user

from harness.target.address import is_loopback, is_number

if TYPE_CHECKING:
    from locust.web import WebUI
    from werkzeug.wrappers import Response as AnyResponse

log = logging.getLogger(__name__)

USER_VARIABLE: Final = "STORMWATCH_WEB_USER"
PASSWORD_VARIABLE: Final = "STORMWATCH_WEB_PASSWORD"  # noqa: S105 - its name
#: Set to "yes", it lets the web UI listen on other addresses without a login.
OPEN_VARIABLE: Final = "STORMWATCH_WEB_OPEN"
_USER: Final = "stormwatch"

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Pause after a login that failed; they are looked at one by one.
FAILED_LOGIN_S: Final = 1.0
#: Characters of a refused host that are shown: it may be long.
_NAME_SHOWN: Final = 40


class WebRefused(Exception):
    """The web UI may not be opened like this; the message says how it may."""


def guard(web_ui: WebUI, display_name: str | None, base_path: str | None) -> str:
    """Guard Locust's web UI, which was made and not yet started; return how, in words.

    Parameters
    ----------
    web_ui : Locust's.
    display_name : Locust's ``--web-host-display-name``: a name under which the page may be opened.
    base_path : Locust's ``--web-base-path``.

    Raises
    ------
    WebRefused
        It would listen to other machines without a login, or has a login without a password.
    """
    password = os.environ.get(PASSWORD_VARIABLE)
    where = f"{web_ui.host or '*'}:{web_ui.port}"
    if web_ui.web_login and not password:
        raise WebRefused(f"--web-login needs a password: set {PASSWORD_VARIABLE}")
    if not password and not is_loopback(web_ui.host) and os.environ.get(OPEN_VARIABLE) != "yes":
        raise WebRefused(
            f"the web UI would let everybody in who reaches {where}: set {PASSWORD_VARIABLE} (and "
            f"{USER_VARIABLE}, else {_USER}), or {OPEN_VARIABLE}=yes where only you reach it, "
            "or leave out --web-host"
        )
    app = web_ui.app
    assert app is not None
    names = {_host_of(name) for name in (web_ui.host, display_name, socket.gethostname()) if name}

    def refuse_others() -> Response | None:
        reason = _reason_to_refuse(names)
        if reason is None:
            return None
        log.warning("web UI: %s %s refused: %s", request.method, request.path, reason)
        return Response(f"refused: {reason}\n", status=403, mimetype="text/plain")

    app.before_request(refuse_others)
    app.after_request(_for_this_page_alone)
    if password:
        _ask_for_a_login(web_ui, os.environ.get(USER_VARIABLE) or _USER, password, base_path)
        return f"{where}, with a login"
    return f"{where}, without a login"


def _reason_to_refuse(names: set[str]) -> str | None:
    host = _host_of(request.host)
    if not (is_number(host) or host == "localhost" or host.endswith(".localhost") or host in names):
        return (
            f"the host {host[:_NAME_SHOWN]!r} is not known; open the page by its address, "
            "or start Locust with --web-host-display-name"
        )
    if request.method in _SAFE:
        return None
    origin = request.headers.get("Origin")
    if origin is not None:
        foreign = urlsplit(origin).netloc.lower() != request.host.lower()
    else:  # an old browser, or no browser at all
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    return "it comes from another site's page" if foreign else None


def _for_this_page_alone(response: Response) -> Response:
    # Locust lets every site read what it answers, unless it was said already who may.
    response.headers["Access-Control-Allow-Origin"] = request.host_url.rstrip("/")
    response.headers.setdefault("Content-Security-Policy", "frame-ancestors 'self'")
    return response


class _User:
    """The one who may log in, as Flask-Login asks of a user."""

    is_authenticated = is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        return _USER


def _ask_for_a_login(web_ui: WebUI, user: str, password: str, base_path: str | None) -> None:
    """Have Locust's login page ask for ``user`` and ``password``."""
    app = web_ui.app
    assert app is not None
    app.secret_key = secrets.token_bytes(32)
    app.config.update(SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_SECURE=bool(web_ui.tls_cert))
    manager = LoginManager(app)
    manager.login_view = "locust.login"
    manager.user_loader(lambda id: _User() if id == _USER else None)
    web_ui.web_login, web_ui.login_manager = True, manager
    web_ui.auth_args = {"username_password_callback": f"{base_path or ''}/stormwatch/login"}
    turn = threading.Lock()

    def log_in() -> AnyResponse:
        given = request.form.get("username", ""), request.form.get("password", "")
        with turn:
            right = [
                hmac.compare_digest(a.encode(), b.encode())
                for a, b in zip(given, (user, password), strict=True)
            ]
            if not all(right):
                log.warning("web UI: a login from %s was refused", request.remote_addr)
                time.sleep(FAILED_LOGIN_S)
                session["auth_error"] = "Wrong user name or password"
                return redirect(url_for("locust.login"))
        login_user(_User())
        return redirect(url_for("locust.index"))

    routes = Blueprint("stormwatch-login", __name__, url_prefix=base_path)
    routes.add_url_rule("/stormwatch/login", endpoint="log-in", view_func=log_in, methods=["POST"])
    app.register_blueprint(routes)


def _host_of(address: str) -> str:
    """Return the host of ``host``, ``host:port`` or an URL, in lower case; empty if there is none."""
    try:
        if is_number(address):
            return address
        return (urlsplit(address if "://" in address else f"//{address}").hostname or "").lower()
    except ValueError:
        return ""

"""The tabs "Objectives" and "KPIs" in Locust's web UI: what a run shows while it goes on.

Locust serves what another process has written (``live.json``); nothing is computed in its loop.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response, abort, request, send_file

from harness.documents.live import Live
from harness.live.followed import Followed

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

TITLES: Final = ("Objectives", "KPIs")

_FILES: Final = Path(__file__).parent / "web"
_REPORT: Final = "report.html"

#: The page needs nothing but itself and its figures, and stands in no frame but Locust's.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'"
)


#: Hides Locust's own fields: the target is that of the start, and options of ours say how many play.
_ADDED: Final = (
    "<style>.MuiFormControl-root:has("
    "input:is([name=host], [name=userCount], [name=spawnRate], [name=runTime])){display:none}"
    "form:has([name=userCount])::before{display:block;margin-top:1rem;opacity:.75;font-family:sans-serif;"
    'content:"How many play, their waves and the length of the run stand under Custom parameters, in the '
    'place of users, spawn rate and run time."}</style>'
    '<script src="stormwatch/tab.js" defer></script>'
)


class ObjectivesTab(Followed):
    """The run that the tab shows."""

    def page(self) -> Response:
        """Answer ``/stormwatch``, the page in the tab."""
        page = Response((_FILES / "page.html").read_text(encoding="utf-8"), mimetype="text/html")
        page.headers["Content-Security-Policy"] = _POLICY
        return page

    def script(self) -> Response:
        """Answer ``/stormwatch/tab.js``, which fills the tab."""
        return Response((_FILES / "tab.js").read_text(encoding="utf-8"), mimetype="text/javascript")

    def live(self) -> Response:
        """Answer the document, and how old its figures are: the browser's clock may be another."""
        live = self.document()
        answer = {
            "live": None if live is None else live.model_dump(mode="json"),
            "age_s": None if live is None else round(_age_s(live), 1),
            "report": self._run is not None and (self._run.path / _REPORT).is_file(),
        }
        # Locust has Flask indent and sort: twice the size, each second.
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        return Response(text, mimetype="application/json", headers={"Cache-Control": "no-store"})

    def report(self) -> Response:
        """Answer the report of a run that ended."""
        if self._run is None or not (self._run.path / _REPORT).is_file():
            abort(404, "there is no report yet: it is made when a run ends")
        path, name = self._run.path / _REPORT, f"stormwatch-{self._run.id}.html"
        return send_file(path.absolute(), as_attachment="download" in request.args, download_name=name)


def register(web_ui: WebUI, base_path: str | None) -> ObjectivesTab:
    """Add the tab to Locust's web UI and return it, to be told of runs.

    Parameters
    ----------
    web_ui : Locust's, not yet started. Its login, if it asks for one, guards the tab too.
    base_path : Locust's ``--web-base-path``.
    """
    tab = ObjectivesTab()
    tabs = web_ui.template_args.setdefault("extended_tabs", [])
    tabs += [{"title": title, "key": title.lower()} for title in TITLES]
    files = web_ui.template_args.setdefault("extended_csv_files", [])
    files.append({"href": "./stormwatch/report?download", "title": "Download Stormwatch's report"})
    routes = Blueprint("stormwatch", __name__, url_prefix=base_path)
    for path, view in (
        ("/stormwatch", tab.page),
        ("/stormwatch/tab.js", tab.script),
        ("/stormwatch/live.json", tab.live),
        ("/stormwatch/report", tab.report),
    ):
        guarded = web_ui.auth_required_if_enabled(view)
        routes.add_url_rule(path, endpoint=path.rpartition("/")[2].replace(".", "-"), view_func=guarded)
    assert web_ui.app is not None
    web_ui.app.register_blueprint(routes)
    web_ui.app.after_request(_with_script)
    web_ui.app.after_request(partial(_told_that_it_begins, web_ui.environment))
    return tab


def _told_that_it_begins(environment: Environment, response: Response) -> Response:
    """Have Locust's page wait for a run that begins: told "ready", it goes back to its form for good."""
    runner = environment.runner
    if (
        request.endpoint == "locust.request_stats"
        and runner is not None
        and runner.shape_greenlet is not None
    ):
        stats = response.get_json(silent=True)
        if isinstance(stats, dict) and stats.get("state") == "ready":
            response.set_data(json.dumps(stats | {"state": "spawning"}))
    return response


def _age_s(live: Live) -> float:
    """Return the age of the figures in seconds; without figures, of the document."""
    at = live.figures.judged_at if live.figures else live.updated_at
    return max(0.0, time.time() - datetime.fromisoformat(at).timestamp())


def _with_script(response: Response) -> Response:
    """Have Locust's page load the script that fills the tab, without the fields that a run does not heed."""
    if request.endpoint == "locust.index" and response.status_code == 200:
        page = response.get_data(as_text=True)
        response.set_data(page.replace("</body>", f"{_ADDED}</body>"))
    return response

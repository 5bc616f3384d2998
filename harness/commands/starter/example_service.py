"""A tiny service with timers and broadcasts, all in memory. Replace it by your own.

python example_service.py 8000

POST /rounds                {"title", "seconds": {"announced", "open"}} -> 201, the round
GET  /rounds/<id>           the round
GET  /rounds/<id>/events    server-sent events: {"round", "number", "state"}
POST /rounds/<id>/answers   {"by"} -> 201; 409: it is not open
GET  /health
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

TIMED = ("announced", "open")
#: A sleep may end so much before its time, by the clock on the wall.
EARLY_S = 0.002


@dataclass
class Round:
    """A round: who listens to it is told of each move."""

    title: str
    seconds: dict[str, float]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = ""
    number: int = 0
    entered_at: datetime | None = None
    due_at: datetime | None = None
    #: What listeners are told, from the first move on.
    events: list[str] = field(default_factory=list)
    listeners: set[asyncio.Queue[str]] = field(default_factory=set)

    async def run(self) -> None:
        """Go through all states, each at its time."""
        self.begin("announced")
        for state in ("open", "closed"):
            assert self.due_at is not None
            left = self.due_at - datetime.now(UTC)
            await asyncio.sleep(left.total_seconds() + EARLY_S)
            self.enter(state)

    def begin(self, state: str) -> None:
        """Be in a state, and set its timer."""
        self.state, self.entered_at = state, datetime.now(UTC)
        lasts_s = self.seconds[state] if state in TIMED else None
        self.due_at = None if lasts_s is None else self.entered_at + timedelta(seconds=lasts_s)

    def enter(self, state: str) -> None:
        """Move, and tell of it."""
        self.begin(state)
        self.number += 1
        data = json.dumps({"round": self.id, "number": self.number, "state": state})
        self.events.append(f"id: {self.number}\ndata: {data}\n\n")
        for queue in self.listeners:
            queue.put_nowait(self.events[-1])

    def shown(self) -> dict[str, Any]:
        """It as JSON has it."""
        times = {"due_at": self.due_at, "entered_at": self.entered_at, "now": datetime.now(UTC)}
        return {
            "id": self.id,
            "title": self.title,
            "state": self.state,
            **{name: time and time.isoformat() for name, time in times.items()},
        }


rounds: dict[str, Round] = {}
running: set[asyncio.Task[None]] = set()
routes = web.RouteTableDef()


@routes.get("/health")
async def health(_: web.Request) -> web.Response:
    """All is well as long as it answers."""
    return web.json_response({"ok": True})


@routes.post("/rounds")
async def add(request: web.Request) -> web.Response:
    """Make a round and start it."""
    body = await request.json()
    made = Round(body["title"], {state: float(body["seconds"][state]) for state in TIMED})
    rounds[made.id] = made
    task = asyncio.create_task(made.run())
    running.add(task)
    task.add_done_callback(running.discard)
    await asyncio.sleep(0)  # it is announced when it is told of
    return web.json_response(made.shown(), status=201)


@routes.get("/rounds/{id}")
async def show(request: web.Request) -> web.Response:
    """Tell how a round stands."""
    return web.json_response(found(request).shown())


@routes.post("/rounds/{id}/answers")
async def answer(request: web.Request) -> web.Response:
    """Take an answer."""
    if found(request).state != "open":
        raise web.HTTPConflict(text="the round is not open")
    return web.json_response(await request.json(), status=201)


@routes.get("/rounds/{id}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """Tell of all moves after the last one that the listener has heard of."""
    one = found(request)
    heard = int(request.headers.get("Last-Event-ID", 0))
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    queue: asyncio.Queue[str] = asyncio.Queue()
    for event in one.events[heard:]:
        queue.put_nowait(event)
    one.listeners.add(queue)
    try:
        while True:
            await stream.write((await queue.get()).encode())
    except ConnectionResetError:
        return stream
    finally:
        one.listeners.discard(queue)


def found(request: web.Request) -> Round:
    """Return the round that a path names."""
    one = rounds.get(request.match_info["id"])
    if one is None:
        raise web.HTTPNotFound(text="no such round")
    return one


if __name__ == "__main__":
    app = web.Application()
    app.add_routes(routes)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, shutdown_timeout=0.5)

"""What is counted and measured, for Prometheus, for alerts, and under the requirements' names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.database import Database
from service.windows import Window

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: How far back the requirements' error rate and average look.
_WINDOW_S: Final = 300.0


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.http_seconds = Histogram(
            "http_request_seconds", "Time to answer", ["method", "route"], registry=registry, buckets=_SECONDS
        )
        self.http_requests = Counter(
            "http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.connections_refused = Counter(
            "http_connections_refused", "Connections closed for what they did", ["reason"], registry=registry
        )
        self.unauthorised = Counter(
            "unauthorised_calls", "Calls without the right secret", ["secret"], registry=registry
        )
        for secret in ("Authorization", "apikey", "x-cron-secret"):
            # Prometheus sees no increase in a counter that is not there before its first value.
            self.unauthorised.labels(secret)
        # The five of the requirements.
        self.executions = Counter(
            "timer_monitoring_executions", "timerMonitoringExecutions: ticks run", registry=registry
        )
        self.broadcast_success = Counter(
            "event_broadcasting_success", "eventBroadcastingSuccess: messages published", registry=registry
        )
        self.broadcast_failures = Counter(
            "event_broadcasting_failures",
            "eventBroadcastingFailures: attempts to publish that failed",
            ["reason"],
            registry=registry,
        )
        self._gauge(
            "average_execution_time_ms",
            "averageExecutionTime: of ticks, over the last 5 minutes",
            lambda: self.execution_times.mean(_WINDOW_S),
        )
        self._gauge(
            "error_rate",
            "errorRate: share of requests and ticks that failed (5xx), over the last 5 minutes",
            lambda: self.errors.mean(_WINDOW_S),
        )
        self.ticks = Counter("monitor_ticks", "Ticks by how they ended", ["outcome"], registry=registry)
        self.tick_seconds = Histogram(
            "monitor_execution_seconds", "Time of a tick", registry=registry, buckets=_SECONDS
        )
        self.lock_seconds = Histogram(
            "monitor_lock_seconds", "Time to get the monitor's lock", registry=registry, buckets=_SECONDS
        )
        self.games_moved = Counter("games_moved", "Games moved by their timers", registry=registry)
        self.games_graced = Counter("games_graced", "Grace periods granted", registry=registry)
        self.publish_seconds = Histogram(
            "publish_seconds", "Time of an attempt to publish", registry=registry, buckets=_SECONDS
        )
        self.dead = Counter("events_dead", "Events given up by this process", registry=registry)
        self.outbox_depth = Gauge("outbox_depth", "Events that wait to be published", registry=registry)
        self.outbox_age = Gauge("outbox_age_seconds", "Age of the oldest of them", registry=registry)
        self.dead_letters = Gauge("dead_letters", "Dead letters not replayed", registry=registry)
        self.relay_leader = Gauge("relay_leader", "1 if this process publishes the outbox", registry=registry)
        self.relay_buffered = Gauge("relay_buffered", "Events in the relay's memory", registry=registry)
        self.breaker_state = Gauge("breaker_state", "0 closed, 1 half-open, 2 open", registry=registry)
        self.loop_lag = Gauge("event_loop_lag_seconds", "How late the event loop runs", registry=registry)

        #: For the alert rules: 0 or 1 for each request and tick, ms for each tick, 1 for each failure and
        #: for each unauthorised call.
        self.errors = Window(3600.0)
        self.execution_times = Window(3600.0)
        self.pubnub_failures = Window(3600.0)
        self.unauthorised_calls = Window(3600.0)

    def watch_pool(self, database: Database) -> None:
        """Show the pool's use whenever metrics are read."""
        self._gauge("db_pool_in_use", "Database connections lent out", lambda: database.in_use)
        self._gauge("db_pool_size", "Database connections, at most", lambda: database.size)
        self._gauge("db_pool_waiting", "Requests that wait for a connection", lambda: database.waiting)
        self._gauge("db_pool_open", "Database connections the pool holds", lambda: database.open_connections)
        self._gauge("db_pool_exhausted", "Requests that got no connection", lambda: database.exhausted)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Show how many connections clients hold open, idle ones included."""
        self._gauge("http_connections", "Connections that clients hold open", count)

    def published(self, seconds: float) -> None:
        """Note a message that PubNub accepted."""
        self.publish_seconds.observe(seconds)
        self.broadcast_success.inc()

    def publish_failed(self, seconds: float, reason: str) -> None:
        """Note an attempt that failed."""
        self.publish_seconds.observe(seconds)
        self.broadcast_failures.labels(reason).inc()
        self.pubnub_failures.add(1.0)

    def refused(self, secret: str) -> None:
        """Note a call without the right ``secret`` (the name of its header)."""
        self.unauthorised.labels(secret).inc()
        self.unauthorised_calls.add(1.0)

    def answered(self, failed: bool) -> None:
        """Note an answer for the error rate."""
        self.errors.add(1.0 if failed else 0.0)

    def ticked(self, seconds: float, outcome: str) -> None:
        """Note the end of a tick: ``moved``, ``skipped``, ``disabled`` or ``failed``."""
        self.ticks.labels(outcome).inc()
        if outcome in {"moved", "failed"}:
            self.executions.inc()
            self.tick_seconds.observe(seconds)
            self.execution_times.add(seconds * 1000)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, words: str, read: Callable[[], float]) -> None:
        Gauge(name, words, registry=self.registry).set_function(read)

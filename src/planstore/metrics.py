"""What Prometheus is told: of this process, and of the store that all processes share.

Names begin with ``planstore_``, units are the base ones, and no label holds an id: routes are told
by their templates, and of the types of tasks only so many as `MAX_TYPES`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from planstore.errors import PlanStoreError
from planstore.models.sketch import upper_end
from planstore.routers.context import route_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from planstore.models.statistics import Ever, Standing
    from planstore.services.plan_store import PlanStore
    from planstore.services.relaying import Lag

MAX_TYPES: Final = 20
"""How many types of tasks are told apart; the others are ``(other)``, and no type is ``(none)``."""

FRESH: Final = 5.0
"""Seconds for which how the store stands isn't looked at again, however many ask."""

_REQUEST_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_TASK_BUCKETS: Final = (
    *(0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0),
    *(21_600.0, 86_400.0, 604_800.0),
)
_LOOK_AT_LOOP_EVERY: Final = 0.5
_OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0"
_NO_ROUTE: Final = "(none)"
_OTHER: Final = "(other)"


class Metrics:
    """What one process tells."""

    def __init__(self, store: PlanStore) -> None:
        self._store = store
        self._standing = _StandingCollector(store)
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "planstore_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "planstore_http_request_duration_seconds",
            "Time until an answer began. Claims that wait for work take as long as they wait.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._lag = Histogram(
            "planstore_event_loop_lag_seconds",
            "By how much a timer of the event loop was late, looked at twice a second.",
            buckets=_LAG_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_OfProcess(store))
        self._registry.register(self._standing)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics as the ``Accept`` header asks for them, and their media type."""
        await self._standing.look()
        # The library stumbles over versions that are none.
        known = _OPEN_METRICS if "application/openmetrics-text" in accept else ""
        encode, media_type = choose_encoder(known)
        return encode(self._registry), media_type

    async def watch_loop(self) -> None:
        """Look at how late the event loop is, for good."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_LOOK_AT_LOOP_EVERY)
            self._lag.observe(max(time.perf_counter() - began - _LOOK_AT_LOOP_EVERY, 0.0))

    def measured(self, app: ASGIApp) -> ASGIApp:
        """Return the app, whose requests are counted."""
        counters: dict[tuple[str, str, int], Counter] = {}
        histograms: dict[tuple[str, str], Histogram] = {}

        async def measure(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = time.perf_counter()

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seconds = time.perf_counter() - began
                    method, route = _method_of(scope), route_of(scope) or _NO_ROUTE
                    status = message["status"] // 100
                    counter = counters.get((method, route, status))
                    if counter is None:
                        counter = self._requests.labels(method, route, f"{status}xx")
                        counters[method, route, status] = counter
                        histograms[method, route] = self._durations.labels(method, route)
                    counter.inc()
                    histograms[method, route].observe(seconds)
                await send(message)

            await app(scope, receive, told)

        return measure


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method_of(scope: Scope) -> str:
    """The method, of those that there are: a client may make up any number of others."""
    return scope["method"] if scope["method"] in _METHODS else "(other)"


class _OfProcess(Collector):
    """What the parts of this process count by themselves."""

    def __init__(self, store: PlanStore) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        meters = self._store.meters
        yield _counter("planstore_tasks_claimed", "Tasks that were handed out.", meters.claimed)
        searches = CounterMetricFamily(
            "planstore_claim_searches", "Searches for ready tasks.", labels=("found",)
        )
        searches.add_metric(("yes",), meters.searches_with_tasks)
        searches.add_metric(("no",), meters.searches_without)
        yield searches
        yield _gauge("planstore_claims_waiting", "Claims that wait for work.", meters.waiting)
        yield _counter(
            "planstore_leases_taken_back",
            "Tasks that this process took back because their lease had ended.",
            meters.taken_back,
        )
        pool = meters.connections
        if (relay := self._store.relay) is not None:
            yield _gauge(
                "planstore_relay_at_work",
                "Whether this process passes events on to Redis; one does.",
                float(relay.status.is_at_work),
            )
            yield _counter(
                "planstore_relayed_events",
                "Events that this process has passed on to Redis.",
                relay.status.relayed,
            )
            yield _counter(
                "planstore_relay_failures",
                "How often Redis couldn't be reached or refused, from this process.",
                relay.status.failures,
            )
        connections = GaugeMetricFamily(
            "planstore_database_connections", "Connections to the database.", labels=("state",)
        )
        connections.add_metric(("idle",), pool.idle)
        connections.add_metric(("used",), pool.size - pool.idle)
        yield connections
        yield _gauge(
            "planstore_database_connections_max", "Connections that there may be.", pool.max_size
        )


class _StandingCollector(Collector):
    """How the store stands: the same, whichever of its processes is asked."""

    def __init__(self, store: PlanStore) -> None:
        self._store = store
        self._standing: Standing | None = None
        self._relay_lag: Lag | None = None
        self._looked_at = -FRESH
        self._turn = asyncio.Lock()
        self._named: set[str] = set()

    async def look(self) -> None:
        """Look how the store stands, unless that was done just now; it may be out of reach."""
        async with self._turn:
            if time.monotonic() - self._looked_at < FRESH:
                return
            relay = self._store.relay
            try:
                self._standing = await self._store.get_standing()
                self._relay_lag = None if relay is None else await relay.lag()
            except PlanStoreError:
                self._standing = self._relay_lag = None
            self._looked_at = time.monotonic()

    def collect(self) -> Iterable[Metric]:
        standing = self._standing
        yield _gauge(
            "planstore_database_up", "Whether the database answers.", float(standing is not None)
        )
        if standing is None:
            return
        yield _gauge(
            "planstore_ready_tasks",
            "Tasks that may be claimed now; 100,000 or more are told as about that.",
            standing.ready,
        )
        yield _gauge(
            "planstore_oldest_ready_task_seconds",
            "Since when the longest ready task may be claimed.",
            standing.oldest_ready_seconds,
        )
        leases = GaugeMetricFamily(
            "planstore_leases",
            "Claims that are held, and those whose lease has ended.",
            labels=("state",),
        )
        leases.add_metric(("running",), standing.leases)
        leases.add_metric(("expired",), standing.expired_leases)
        yield leases
        yield _gauge(
            "planstore_statistics_lag_seconds",
            "How old the first event is that isn't counted yet.",
            standing.uncounted_seconds,
        )
        if self._relay_lag is not None:
            yield _gauge(
                "planstore_relay_lag_events",
                "Events that Redis hasn't got yet; numbers that were given up count as well.",
                self._relay_lag.events,
            )
            yield _gauge(
                "planstore_relay_lag_seconds",
                "How old the first event is that Redis hasn't got yet.",
                self._relay_lag.seconds,
            )
        yield from self._by_type(standing)

    def _by_type(self, standing: Standing) -> Iterator[Metric]:
        self._name(standing)
        tasks = GaugeMetricFamily("planstore_tasks", "Tasks.", labels=("task_type", "status"))
        counts: Tally[tuple[str, str]] = Tally()
        for (task_type, status), count in standing.tasks.items():
            counts[self._label(task_type), status] += count
        for labels, count in sorted(counts.items()):
            tasks.add_metric(labels, count)
        yield tasks
        ends = CounterMetricFamily(
            "planstore_task_ends", "How often tasks ended.", labels=("task_type", "outcome")
        )
        retries = CounterMetricFamily(
            "planstore_task_retries", "How often tasks were put back.", labels=("task_type",)
        )
        waits = HistogramMetricFamily(
            "planstore_task_queue_wait_seconds",
            "From when tasks could be taken until they were.",
            labels=("task_type",),
        )
        runs = HistogramMetricFamily(
            "planstore_task_run_seconds",
            "How long the runs took by which tasks completed.",
            labels=("task_type",),
        )
        for label, ever in sorted(self._labelled(standing).items()):
            ends.add_metric((label, "completed"), ever.completed)
            ends.add_metric((label, "failed"), ever.failed)
            ends.add_metric((label, "skipped"), ever.skipped)
            retries.add_metric((label,), ever.retried)
            waits.add_metric((label,), _buckets(ever.waits), ever.wait_seconds)
            runs.add_metric((label,), _buckets(ever.runs), ever.run_seconds)
        yield from (ends, retries, waits, runs)

    def _name(self, standing: Standing) -> None:
        """Choose the types that are told apart: for good, so that no count ever falls."""
        counts: Tally[str] = Tally()
        for each in standing.ever:
            counts[each.task_type or ""] += each.completed + each.failed
        for (task_type, _), count in standing.tasks.items():
            counts[task_type or ""] += count
        for task_type, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            if len(self._named) == MAX_TYPES:
                return
            if task_type:
                self._named.add(task_type)

    def _label(self, task_type: str | None) -> str:
        if task_type == "":
            return "(none)"
        return task_type if task_type in self._named else _OTHER

    def _labelled(self, standing: Standing) -> dict[str, Ever]:
        """What became of tasks by label: what has none of its own is what is left of all."""
        labelled: dict[str, Ever] = {}
        for each in standing.ever:
            if each.task_type is None:
                labelled[_OTHER] = each
        for each in standing.ever:
            if each.task_type is not None and (label := self._label(each.task_type)) != _OTHER:
                labelled[label] = each
                labelled[_OTHER] = labelled[_OTHER].without(each)
        return labelled


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, meaning, value=value)


def _buckets(sketch: Mapping[int, int]) -> list[tuple[str, float]]:
    """How many durations lie below each limit; what lies across one counts as above."""
    return [
        *(
            (str(limit), float(sum(n for span, n in sketch.items() if upper_end(span) <= limit)))
            for limit in _TASK_BUCKETS
        ),
        ("+Inf", float(sum(sketch.values()))),
    ]

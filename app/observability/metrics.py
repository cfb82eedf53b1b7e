"""Metrics: counters and histograms by turn and by request, gauges that are read at each scrape. All names in one list.

Nothing is counted per token: the hot path carries one subtraction a read (the longest gap).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
"""Fewer: there is a series for each of them and each route."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a figure beside each counter, which nobody asks for

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry a server: two servers in one process (tests) do not add up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._figures = _CountedElsewhere()
        self._registry.register(self._figures)
        Gauge(
            "hector_build_info",
            "What runs here; always 1.",
            ["version", "python"],
            registry=self._registry,
        ).labels(__version__, platform.python_version()).set(1)
        self._requests = Counter(
            "hector_http_requests",
            "Requests whose answer has begun, by route and status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._answers = Histogram(
            "hector_http_request_seconds",
            "From the headers of a request to the beginning of its answer.",
            ["method", "route"],
            buckets=_ANSWER_SECONDS,
            registry=self._registry,
        )
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """Looked up once for each kind of request."""
        self._turns = Counter(
            "hector_turns",
            "Turns that are over, by how they ended.",
            ["agent", "llm", "status", "reason", "provider_status"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "hector_tokens",
            "Tokens, as in the usage of turns and summaries.",
            ["agent", "llm", "kind"],
            registry=self._registry,
        )
        self._webhooks = Counter(
            "hector_webhook_attempts",
            "Attempts to tell a webhook of an event, by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        self._replica = Gauge(
            "hector_replica_info",
            "This server, as one of several or alone; always 1.",
            ["id", "name", "address", "version"],
            registry=self._registry,
        )
        self._takeovers = Counter(
            "hector_takeovers", "Sessions with open turns taken over from another server.", registry=self._registry
        )
        self._commands = Counter(
            "hector_commands", "Commands that other servers were asked to carry out.", registry=self._registry
        )
        self._first_token = self._histogram("hector_first_token_seconds", "From the message to the first token.")
        self._duration = self._histogram("hector_turn_seconds", "From the message to the end of its turn.")
        self._gap = self._histogram("hector_longest_gap_seconds", "The longest pause between two reads of a turn.")

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A figure that is looked up at each scrape."""
        Gauge(name, help_text, registry=self._registry).set_function(value)

    def counter(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A figure that only grows, kept elsewhere and looked up at each scrape. `name` is without `_total`."""
        self._figures.add(name, help_text, value)

    def request_answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """`route`: its template, or a fixed word; never what a client chose, for each value is a series."""
        key = method, route, status
        found = self._answered.get(key)
        if found is None:
            found = self._requests.labels(method, route, status), self._answers.labels(method, route)
            self._answered[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def request_refused(self, status: int) -> None:
        """A request that never became one: of no method and no route, and answered at once."""
        self._requests.labels("other", "other", status).inc()

    def turn_ended(
        self,
        *,
        agent: str,
        llm: str,
        status: str,
        reason: str | None,
        provider_status: int | None,
        prompt_tokens: int,
        completion_tokens: int,
        first_token_seconds: float | None,
        total_seconds: float,
        gap_seconds: float,
    ) -> None:
        self._turns.labels(agent, llm, status, reason or "", provider_status or "").inc()
        self._duration.labels(agent).observe(total_seconds)
        self.tokens_used(agent=agent, llm=llm, prompt=prompt_tokens, completion=completion_tokens)
        if first_token_seconds is not None:
            self._first_token.labels(agent).observe(first_token_seconds)
            self._gap.labels(agent).observe(gap_seconds)

    def describe(self, *, replica_id: str, name: str, address: str, version: str) -> None:
        """Say which server this is."""
        self._replica.labels(replica_id, name, address, version).set(1)

    def took_over(self) -> None:
        self._takeovers.inc()

    def command_sent(self) -> None:
        self._commands.inc()

    def webhook_tried(self, outcome: str) -> None:
        """`outcome`: `delivered`, `retried`, `failed` (given up), `gone` or `dropped` (not configured any more)."""
        self._webhooks.labels(outcome).inc()

    def tokens_used(self, *, agent: str, llm: str, prompt: int, completion: int) -> None:
        if prompt:
            self._tokens.labels(agent, llm, "prompt").inc(prompt)
        if completion:
            self._tokens.labels(agent, llm, "completion").inc(completion)

    def text(self) -> bytes:
        """The exposition, for Prometheus."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, ["agent"], buckets=_SECONDS, registry=self._registry)


class _CountedElsewhere(Collector):
    """Counters whose figures are attributes of other objects: the library's own only count what they are told."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], Callable[[], float]] = {}

    def add(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        self._values[name, help_text] = value

    def collect(self) -> Iterator[Metric]:
        for (name, help_text), value in self._values.items():
            yield CounterMetricFamily(name, help_text, value=value())

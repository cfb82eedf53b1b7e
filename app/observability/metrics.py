"""Metrics: counters and histograms by turn, gauges read when somebody asks. All names in one list.

Nothing is counted per token: the hot path carries one subtraction a read (the longest gap).
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a figure beside each counter, which nobody asks for

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry a server: two servers in one process (tests) do not add up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._turns = Counter(
            "hector_turns", "Turns that are over, by how they ended.", ["agent", "status"], registry=self._registry
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

    def turn_ended(
        self,
        *,
        agent: str,
        llm: str,
        status: str,
        prompt_tokens: int,
        completion_tokens: int,
        first_token_seconds: float | None,
        total_seconds: float,
        gap_seconds: float,
    ) -> None:
        self._turns.labels(agent, status).inc()
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

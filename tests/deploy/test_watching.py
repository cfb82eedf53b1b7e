"""The dashboard and the rules for alerts: they can be read, and ask for nothing that a real server does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.redis import RedisServer
from tests.fixtures.server import ROOT, HectorServer
from tests.fixtures.talk import Talk

BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "hector.json").read_text(encoding="utf-8"))
RULES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
SETTINGS: dict[str, Any] = {
    "embedders": {"default": {"type": "none"}},
    "llms": {"demo": {"type": "scripted", "script": ["Noted."]}},
    "webhook_delivery": {"per_session": True},
}
OF_SCRAPE = {"job", "instance"}
"""Labels that Prometheus puts on every sample."""
FUNCTIONS = {"rate", "increase", "changes", "histogram_quantile", "topk", "sum", "count", "absent"}
OF_COUNTERS = {"rate", "increase"}
_TOKEN = re.compile(r'\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|("[^"]*")|(=~|!=|[<>]=?|==|[-+*/(){}\[\],=]))')
_OPERATORS = {"+", "-", "*", "/", ">", "<", ">=", "<=", "==", "!=", "or", "and", "unless"}


@dataclass(frozen=True)
class Selector:
    """A metric that is asked for: by which labels it is chosen, and what is made of it."""

    name: str
    labels: frozenset[str]
    function: str | None
    grouped_by: frozenset[str]


class Expression:
    """A parser of the part of PromQL that these files use. Raises AssertionError: it is not well-formed."""

    def __init__(self, text: str) -> None:
        self._tokens = [next(filter(None, match.groups())) for match in _TOKEN.finditer(text)]
        assert "".join(self._tokens) == re.sub(r"\s", "", text), text
        self._place = 0
        self.selectors: list[Selector] = []
        self._binary(None, frozenset())
        assert self._place == len(self._tokens), text

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        assert token, (expected, self._tokens)
        assert expected in (None, token), (token, expected, self._tokens)
        self._place += 1
        return token

    def _binary(self, function: str | None, groups: frozenset[str]) -> None:
        self._operand(function, groups)
        while self._peek() in _OPERATORS:
            self._take()
            self._operand(function, groups)

    def _operand(self, function: str | None, groups: frozenset[str]) -> None:
        token = self._take()
        if token == "(":
            self._binary(function, groups)
            self._take(")")
        elif token in FUNCTIONS:
            self._call(token, groups)
        elif not token[0].isdigit():
            self._selector(token, function, groups)

    def _call(self, function: str, groups: frozenset[str]) -> None:
        if self._peek() == "by":
            self._take()
            groups = groups | frozenset(self._names())
        self._take("(")
        self._binary(function, groups)
        while self._peek() == ",":
            self._take()
            self._binary(function, groups)
        self._take(")")

    def _names(self) -> Iterator[str]:
        self._take("(")
        while (token := self._take()) != ")":
            if token != ",":
                yield token

    def _selector(self, name: str, function: str | None, groups: frozenset[str]) -> None:
        labels = set()
        if self._peek() == "{":
            separator = self._take()
            while separator != "}":
                labels.add(self._take())
                assert self._take() in ("=", "=~", "!=")
                assert self._take().startswith('"')
                separator = self._take()
                assert separator in (",", "}")
        if self._peek() == "[":
            assert re.fullmatch(r"\[\d+[mhs]\]", "".join([self._take() for _ in range(4)]))
        self.selectors.append(Selector(name, frozenset(labels), function, groups))


def expressions() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from [target["expr"] for target in panel["targets"]]
    for group in RULES["groups"]:
        yield from [rule["expr"] for rule in group["rules"]]


@pytest_asyncio.fixture
async def told(
    tmp_path: Path, postgres_url: str, shared_redis: RedisServer
) -> AsyncIterator[dict[str, tuple[str, set[str]]]]:
    """Kind and labels of every sample that a server shows after a turn."""
    shared = {"storage": {"url": postgres_url}, "redis": {"url": shared_redis.url}}
    server = HectorServer(tmp_path, SETTINGS | shared, is_alone=True)
    await server.start()
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        await (await Talk.begin(client)).say("Hello")
        text = (await client.get("/metrics")).text
    yield {
        sample.name: (family.type, set(sample.labels))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    } | {"up": ("gauge", set())}
    await server.close()


async def test_every_expression_asks_for_what_a_server_tells(told: dict[str, tuple[str, set[str]]]) -> None:
    for text in expressions():
        selectors = Expression(text).selectors
        assert selectors, text
        for selector in selectors:
            assert selector.name in told, text
            kind, labels = told[selector.name]
            assert selector.labels | selector.grouped_by <= labels | OF_SCRAPE, text
            assert (selector.function in OF_COUNTERS) == (kind in ("counter", "histogram")), text


@pytest.mark.parametrize("text", ["sum(up", "rate(up[5m)", "sum by (up)", "up{job=}", "up up", "sum by instance (up)"])
def test_an_expression_that_is_not_well_formed_would_be_noticed(text: str) -> None:
    with pytest.raises(AssertionError):
        Expression(text)


def test_every_legend_names_what_its_expression_keeps() -> None:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = frozenset().union(*[one.grouped_by for one in Expression(target["expr"]).selectors])
            assert shown <= kept | OF_SCRAPE, target


def test_every_rule_says_how_bad_it_is_and_what_has_happened() -> None:
    [group] = RULES["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) >= 8
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "summary" in rule["annotations"]


def test_panels_have_places_of_their_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in BOARD["panels"]})
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in BOARD["panels"])

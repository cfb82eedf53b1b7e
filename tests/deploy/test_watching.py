"""The dashboard and the rules for alerts: they can be read, and name figures that a server has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from tests.fixtures.server import ROOT

PAGE = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
OF_HISTOGRAM = ("_bucket", "_sum", "_count")


def known() -> dict[str, set[str]]:
    """The labels of every figure of the page on operation, which another test compares with a server's."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in re.findall(r"^\| `(hector_\w+)` \| (\w+) \| ([^|]*)\|", PAGE, re.MULTILINE):
        named = set(re.findall(r"`(\w+)`", labels))
        for end in OF_HISTOGRAM if kind == "histogram" else ("",):
            found[name + end] = named | ({"le"} if end == "_bucket" else set())
    return found


def expressions() -> Iterator[str]:
    board = json.loads((ROOT / "deploy" / "grafana" / "hector.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        yield from [target["expr"] for target in panel["targets"]]
    for group in rules()["groups"]:
        yield from [rule["expr"] for rule in group["rules"]]


def rules() -> dict[str, list[dict[str, list[dict[str, str]]]]]:
    found: dict[str, list[dict[str, list[dict[str, str]]]]] = yaml.safe_load(
        (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    )
    return found


def test_every_figure_that_is_asked_for_is_one_of_the_servers() -> None:
    figures = known()
    for expression in expressions():
        names = re.findall(r"\bhector_\w+", expression)
        assert names or "up{" in expression
        assert set(names) <= set(figures), expression
        labels = set().union(*[figures[name] for name in names], {"instance", "job"})
        grouped = [label.strip() for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(",")]
        matched = re.findall(r"[{,]\s*(\w+)=", expression)
        assert {*grouped, *matched} <= labels, expression
        assert expression.count("(") == expression.count(")")


def test_every_rule_says_how_bad_it_is_and_what_has_happened() -> None:
    [group] = rules()["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) >= 8
    for rule in group["rules"]:
        assert yaml.safe_load(str(rule["labels"]))["severity"] in ("page", "ticket")
        assert "summary" in rule["annotations"]


def test_panels_have_places_of_their_own() -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "hector.json").read_text(encoding="utf-8"))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])

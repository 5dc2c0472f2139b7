"""The Grafana dashboard asks for the metrics that there are, and for all of them."""

import json
import re

import pytest
from cluster_files import CLUSTER

from pipeline.engine.metrics import METRICS

DASHBOARD = json.loads((CLUSTER / "grafana" / "sa2va-i.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPORTED = {name: spec.exported(name) for name, spec in METRICS.items()}
LABELS = {exported: set(METRICS[name].labels) for name, names in EXPORTED.items() for exported in names}
FROM_RAY = {"SessionName", "le"}


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", query))


def test_every_query_names_metrics_that_exist():
    assert {name for query in QUERIES for name in names_in(query)} <= LABELS.keys()


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_drawn(metric):
    assert any(names_in(query) & EXPORTED[metric] for query in QUERIES)


@pytest.mark.parametrize("query", QUERIES)
def test_labels_exist_on_the_metrics_they_are_asked_of(query):
    known = set.union(*(LABELS[name] for name in names_in(query))) | FROM_RAY
    filters = {label for part in re.findall(r"\{(.*?)\}", query) for label in re.findall(r"(\w+)=~?\"", part)}
    groups = {label.strip() for part in re.findall(r"by \((.*?)\)", query) for label in part.split(",")}
    assert filters | groups <= known


@pytest.mark.parametrize("query", QUERIES)
def test_counters_are_read_as_rates_or_totals_and_brackets_are_closed(query):
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing)
    for bucket in re.findall(r"(\w+\()?ray_\w+_bucket", query):
        assert bucket == "rate("


def test_variables_and_panels_fit_together():
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"])))
    assert used == variables
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)

"""The Prometheus alerts ask for metrics that there are; promtool runs their own tests where it is installed."""

import re
import shutil
import subprocess

import pytest
import yaml
from cluster_files import CLUSTER

from pipeline.engine.metrics import METRICS

FOLDER = CLUSTER / "prometheus"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
TESTS = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
LABELS = {exported: set(spec.labels) for name, spec in METRICS.items() for exported in spec.exported(name)}


def expressions() -> list[str]:
    """Of the alerts, and the series that their tests are fed."""
    return [rule["expr"] for rule in RULES.values()] + [s["series"] for test in TESTS for s in test["input_series"]]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_metrics_and_labels_exist(expression):
    for name, labels in re.findall(r"\b(ray_\w+)(?:\{(.*?)\})?", expression):
        assert set(re.findall(r"(\w+)=", labels)) <= LABELS[name] | {"SessionName", "le"}
    named = set.union(*(LABELS[name] for name in re.findall(r"\bray_\w+", expression)))
    grouped = {label.strip() for part in re.findall(r"by \((.*?)\)", expression) for label in part.split(",")}
    assert grouped <= named | {"SessionName", "le"}


@pytest.mark.parametrize("alert", RULES)
def test_every_alert_says_what_to_do_and_is_seen_firing_and_quiet(alert):
    assert set(RULES[alert]["annotations"]) == {"summary", "action"}
    checks = [check for test in TESTS for check in test["alert_rule_test"] if check["alertname"] == alert]
    assert {bool(check.get("exp_alerts")) for check in checks} == {True, False}


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]])
def test_promtool_accepts_the_rules_and_their_tests_pass(command):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr

"""The example alerts and the operator's page speak of metrics that there are."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.expositions import read
from tests.serving import wait_until
from tests.store_calls import CHECK, STANDING, claim, lose, submit
from workers.registry import Registry

DOCS = Path(__file__).resolve().parents[2] / "docs"
RULES = [
    rule
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGE = (DOCS / "operations.md").read_text()
NAME = re.compile(r"\bccd_[a-z_]+\b")
SELECTOR = re.compile(r'(ccd_[a-z_]+)\{((?:[^"}]|"[^"]*")*)\}')
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
#: What only happens while something is broken.
NEVER_HERE = {("status", "5..")}


@pytest.fixture
def metrics(api):
    """After a little of everything."""
    submit(api.store, phases=CHECK)
    lose(api.store, claim(api.store))
    Registry(api.store).announce(replace(STANDING, name="a"))
    api.get("/v1/jobs/job_1")
    wait_until(lambda: "/v1/jobs/{job_id}" in api.get("/metrics").text)
    return read(api.get("/metrics").text)


def family(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def labels_of(metrics, name):
    return [dict(pairs) for _, pairs in metrics[family(name)].samples]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_names_what_there_is(metrics, rule):
    names = set(NAME.findall(rule["expr"]))

    assert names
    assert {family(name) for name in names} <= set(metrics)
    for name, matchers in SELECTOR.findall(rule["expr"]):
        for label, operator, wanted in MATCHER.findall(matchers):
            found = {labels.get(label) for labels in labels_of(metrics, name)} - {None}
            assert found, f"{name} has no label {label}"
            pattern = re.escape(wanted) if operator == "=" else wanted
            assert (label, wanted) in NEVER_HERE or any(re.fullmatch(pattern, v) for v in found)
    grouped = {label for text in GROUPING.findall(rule["expr"]) for label in text.split(", ")}
    known = {label for name in names for labels in labels_of(metrics, name) for label in labels}
    assert grouped <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_the_page_what_to_do(rule):
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert PAGE.count(f"| `{rule['alert']}` |") == 1


def test_the_page_has_no_alert_that_is_not_there():
    named = set(re.findall(r"\| `(Ccd\w+)` \|", PAGE))

    assert named == {rule["alert"] for rule in RULES}


def test_the_page_lists_every_metric_and_no_other(metrics):
    assert {family(name) for name in NAME.findall(PAGE)} == set(metrics)
    listed = set()
    for row in re.findall(r"^\| (`ccd_.*?) \| (.*?) \|", PAGE, re.MULTILINE):
        for name in NAME.findall(row[0]):
            listed.add(name)
            labels = {label for one in labels_of(metrics, name) for label in one} - {"le"}
            assert labels <= set(row[1].split(", ")), name
    assert listed == set(metrics)


def test_every_event_that_the_page_explains_is_written_somewhere():
    root = DOCS.parent
    source = "".join(
        path.read_text() for folder in ("app", "workers") for path in (root / folder).rglob("*.py")
    )
    table = PAGE.split("| event | says |")[1].split("\n\n")[0]
    events = re.findall(r"`([a-z]+\.[a-z]+)`", table)

    assert len(events) > 8
    assert [event for event in events if f'"{event}"' not in source] == []

import csv
import json
import math

import pytest

from workers.experiments.outcome import Outcome, Spread, by_seed
from workers.experiments.report import markdown, read_outcome, table, write_files

FIGURES = [
    {"mAP": {"one": 50.0, "two": 60.0}, "seen": {"one": 1.0}},
    {"mAP": {"one": 54.0, "two": 62.0}, "seen": {"one": math.nan}},
]


def outcome(**fields):
    return Outcome(
        **{
            "experiment": "views",
            "command": "ccd reproduce views scenes",
            "commit": "abc1234",
            "hardware": {"processor": "a", "threads": 2},
            "seconds": 90.0,
            "preset": "tiny",
            "config": {"alpha": 0.4},
            "data": {"images": 12},
            "seeds": [1, 2],
            "figures": by_seed(FIGURES),
            "published": {"mAP": {"one": 87.6, "another method": 88.0}},
            "notes": ["measured twice"],
            **fields,
        }
    )


def test_spread_is_the_standard_deviation_of_one_seed():
    spread = Spread([1.0, 3.0])  # mean 2, squared deviations 1 and 1, over n - 1 = 1

    assert (spread.mean, spread.deviation) == (2.0, pytest.approx(math.sqrt(2)))
    assert str(spread) == "2.0 ± 1.4"


def test_one_seed_has_no_spread():
    assert str(Spread([2.5])) == "2.5"


def test_what_no_seed_knows_is_not_zero():
    assert str(Spread([math.nan, math.nan])) == "-"


def test_a_gain_is_taken_seed_by_seed():
    gain = outcome().gain("mAP", "two", "one")

    assert gain.values == [10.0, 8.0]


def test_a_figure_that_is_not_a_number_is_null_in_json(tmp_path):
    path = write_files(outcome(), tmp_path)[0]

    assert json.loads(path.read_text())["figures"]["seen"]["one"] == [1.0, None]


def test_json_gives_the_outcome_back(tmp_path):
    path = write_files(outcome(), tmp_path)[0]

    assert read_outcome(path) == outcome()


def test_csv_has_a_row_for_every_figure_of_every_seed(tmp_path):
    path = write_files(outcome(), tmp_path)[1]

    rows = csv.DictReader(path.read_text().splitlines())
    assert [(r["group"], r["name"], r["seed"], r["value"]) for r in rows] == [
        ("mAP", "one", "1", "50.0000"),
        ("mAP", "one", "2", "54.0000"),
        ("mAP", "two", "1", "60.0000"),
        ("mAP", "two", "2", "62.0000"),
        ("seen", "one", "1", "1.0000"),
        ("seen", "one", "2", ""),
    ]


def test_published_figures_stand_beside_ours_and_other_methods_below():
    assert table(outcome(), "mAP")[2:] == [
        "| one | 50.0 | 54.0 | 52.0 | 2.8 | 87.6 |",
        "| two | 60.0 | 62.0 | 61.0 | 1.4 |  |",
        "| another method |  |  |  |  | 88.0 |",
    ]


def test_markdown_says_how_the_figures_were_come_by():
    text = markdown(outcome())

    for told in ("ccd reproduce views scenes", "abc1234", "processor a", "1.5 minutes", "twice"):
        assert told in text

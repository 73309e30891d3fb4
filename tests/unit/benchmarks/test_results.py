from pathlib import Path

from benchmarks.reproduce import commands
from benchmarks.results import (
    DOCUMENT,
    MAIN,
    RESULTS,
    SIDE_EXPERIMENTS,
    between,
    document,
    peak,
    verdict,
)
from workers.experiments import alpha
from workers.experiments.outcome import Outcome

ROOT = Path(__file__).parents[3]


def outcome(**students):
    return Outcome(
        experiment="alpha",
        command="",
        commit="",
        hardware={},
        seconds=0,
        preset="tiny",
        config={},
        data={},
        seeds=[1, 2, 3],
        figures={
            alpha.STUDENTS: {name.replace("_", " "): values for name, values in students.items()},
            alpha.NO_TIES: {name.replace("_", " "): values for name, values in students.items()},
        },
        published={},
        notes=[],
    )


def test_a_verdict_counts_the_seeds_in_which_one_is_over_the_other():
    found = outcome(alpha_0=[10.0, 10.0, 10.0], alpha_1=[12.0, 9.0, 11.0])

    # Gains 2, -1, 1: mean 2/3, squared deviations (16 + 25 + 1) / 9, over 2, root 1.53.
    told = verdict(found, alpha.STUDENTS, "alpha 1", "alpha 0")

    assert told == "`alpha 1` over `alpha 0`: +0.7 ± 1.5, above 0 in 2 of 3 seeds."


def test_a_gain_between_two_runs_is_taken_seed_by_seed():
    before, after = outcome(alpha_0=[10.0, 20.0, 30.0]), outcome(alpha_0=[11.0, 23.0, 30.0])

    assert between(after, before, alpha.STUDENTS, "alpha 0").values == [1.0, 3.0, 0.0]


def test_the_peak_is_where_the_mean_is_highest():
    found = outcome(alpha_0=[1.0, 9.0, 1.0], alpha_1=[5.0, 5.0, 5.0])

    assert peak(found, alpha.STUDENTS) == "alpha 1"


def test_the_page_says_what_its_figures_say():
    assert document(ROOT / RESULTS) == (ROOT / DOCUMENT).read_text()


def test_every_outcome_on_the_page_has_a_command_that_makes_it():
    assert list(commands(threads=1)) == [*MAIN, *SIDE_EXPERIMENTS]

"""The page on reliability names tests that exist, and tells how they ended."""

import json

from tests.faults.results import NAMED, PAGE, RUNS, defined_below, with_results
from tests.serving import ROOT


def test_every_proof_on_the_page_is_a_test():
    named = set(NAMED.findall(PAGE.read_text()))

    assert named
    assert named - defined_below(ROOT / "tests") == set()


def test_the_results_on_the_page_are_those_of_the_recorded_runs():
    runs = json.loads(RUNS.read_text())["runs"]

    assert with_results(PAGE.read_text(), runs) == PAGE.read_text()


def test_a_result_counts_the_runs_of_the_last_commit_in_which_all_proofs_were_green():
    head = "| | fault | promise | proof, in `tests/` | result |\n| --- | --- | --- | --- | --- |\n"
    proofs = "`test_thirty_kills_change_no_byte`, `test_elsewhere`"
    runs = [
        {"commit": "a", "not_passed": []},
        *({"commit": "b", "not_passed": names} for names in ([], ["test_x"], [NAMED_ONE])),
    ]

    page = with_results(f"{head}| F10 | kills | same | {proofs} |  |\n", runs)

    assert page == f"{head}| F10 | kills | same | {proofs} | green in 2 of 3 |\n"


NAMED_ONE = "test_thirty_kills_change_no_byte"

"""Which images a report shows."""

import math
from dataclasses import replace

import pytest
import torch

from models.debias import Bias
from models.evidence import Evidence, WholeViews
from models.samples import centred, choose, rank_images

NAN = math.nan


def evidence_of(scores, pseudo=None, thresholds=None, best=None):
    scores = torch.tensor(scores)
    n, c = scores.shape
    return Evidence(
        names=[f"n{i}" for i in range(c)],
        text=torch.eye(c),
        whole=WholeViews(torch.zeros(n), torch.zeros(n).long(), None),
        max_entropy=1.0,
        bias=Bias(torch.ones(c), torch.zeros(c).long()),
        global_probs=scores if best is None else torch.tensor(best),
        local_probs=torch.zeros_like(scores),
        pseudo=(scores >= 0.5).float() if pseudo is None else torch.tensor(pseudo),
        scores=scores,
        thresholds=torch.full((c,), 0.5) if thresholds is None else torch.tensor(thresholds),
    )


def random_evidence(n=300, c=4):
    generator = torch.Generator().manual_seed(0)
    return replace(
        evidence_of(torch.rand(n, c, generator=generator).tolist()),
        pseudo=torch.rand(n, c, generator=generator),
    )


def test_a_score_at_its_threshold_becomes_one_half_and_certainty_stays():
    found = centred(torch.tensor([[0.2, 0.9], [0.0, 1.0]]), torch.tensor([0.2, 0.5]))

    assert found[0].tolist() == pytest.approx([0.5, 0.9])
    assert found[1].tolist() == pytest.approx([0, 1], abs=1e-4)


def test_centred_scores_fire_where_the_scores_do():
    scores = torch.rand(200, 5, generator=torch.Generator().manual_seed(1))
    thresholds = torch.tensor([0.01, 0.3, 0.5, 0.97, NAN])

    assert torch.equal(centred(scores, thresholds) >= 0.5, scores >= thresholds)


def test_the_rankings_of_two_images_by_hand():
    evidence = evidence_of([[0.9, 0.4], [0.2, 0.1]], pseudo=[[0.3, 0.8], [0.0, 0.2]])

    ranks = rank_images(evidence)

    assert ranks.sureness.tolist() == pytest.approx([0.1, -math.inf])  # 0.4 is 0.1 from a label
    assert ranks.surest_class.tolist() == [0, 0]
    assert ranks.doubt.tolist() == pytest.approx([0.1 + 0.4, 0.2 + 0.1])
    # Image 0 has a label it was not taught (0.9 for 0.3) and lacks one (0.4 for 0.8).
    assert ranks.disagreement.tolist() == pytest.approx([0.6 + 0.4, 0])


def test_the_lists_hold_what_they_are_called():
    evidence = evidence_of(
        [[0.99, 0.01], [0.51, 0.49], [0.95, 0.02], [0.01, 0.02]],
        pseudo=[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
    )
    none = torch.tensor([False, False, False, True])

    samples = choose(evidence, none, 1)

    assert samples.surest == [0]
    assert samples.doubtful == [1]
    assert samples.disagreed == [2]
    assert samples.none == [3]


def test_no_image_is_shown_twice():
    samples = choose(random_evidence(), torch.rand(300) < 0.5, 12)

    shown = [i for images in vars(samples).values() for i in images]
    assert len(shown) == len(set(shown)) == 4 * 12


def test_the_surest_images_are_spread_over_the_classes():
    scores = [[0.99, 0.0]] * 5 + [[0.0, 0.8]] * 2 + [[0.9, 0.0]]

    assert choose(evidence_of(scores), None, 4).surest == [0, 5, 1, 6]


def test_the_surest_are_so_among_the_images_of_no_other_list():
    evidence = evidence_of([[0.6, 0.0], [0.55, 0.0], [0.95, 0.0]], pseudo=[[1, 0], [1, 0], [0, 1]])

    samples = choose(evidence, None, 1)

    # The third lies farthest from its threshold and is disputed; the first is as good as doubtful.
    assert (samples.disagreed, samples.doubtful, samples.surest) == ([2], [1], [0])


def test_images_without_a_label_are_not_sure():
    assert choose(evidence_of([[0.0, 0.0], [0.9, 0.0]]), None, 5).surest == [1]


def test_of_the_images_of_none_the_least_like_any_come_first():
    evidence = evidence_of([[0.0]] * 3, best=[[0.3], [0.1], [0.2]])

    assert choose(evidence, torch.tensor([True, True, False]), 5).none == [1, 0]


def test_an_image_whose_labels_are_clear_is_not_doubtful():
    assert choose(evidence_of([[0.9, 0.1], [0.7, 0.0]]), None, 5).doubtful == [1]


def test_nothing_is_shown_of_what_is_not_known():
    assert choose(random_evidence(), None, 3).none == []


def test_a_student_that_repeats_what_it_was_taught_is_not_disputed():
    assert choose(evidence_of([[0.9, 0.1], [0.2, 0.8]]), None, 3).disagreed == []


def test_the_choice_does_not_depend_on_the_blocks(monkeypatch):
    evidence, none = random_evidence(), torch.arange(300) % 3 == 0
    at_once = choose(evidence, none, 12)

    monkeypatch.setattr("models.samples.BLOCK_ROWS", 7)

    assert choose(evidence, none, 12) == at_once

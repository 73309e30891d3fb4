"""What the teacher's whole and local views say, gathered shard by shard."""

import math

import pytest
import torch

from models.evidence import Views, box_overlap, whole_views

#: Two classes on the axes, a background name on a third.
TEXT = torch.eye(3)
IMAGES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.int32)


def test_the_first_answer_and_its_entropy_are_those_of_the_softmax():
    found = whole_views([IMAGES], TEXT[:2], TEXT[:0], num_classes=2, logit_scale=math.log(3))

    # Image 0: exp(ln 3) against exp(0) is 3/4 and 1/4; image 2 is a fair coin.
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found.top.tolist()[:2] == [0, 1]
    assert found.entropy.tolist()[:3] == pytest.approx([expected, expected, math.log(2)])


def test_without_any_background_name_nothing_is_said_of_the_background():
    found = whole_views([IMAGES], TEXT[:2], TEXT[:0], num_classes=2, logit_scale=10)

    assert found.is_background is None


@pytest.mark.parametrize("in_softmax", [2, 3])
def test_a_background_name_comes_first_in_the_softmax_or_beside_it(in_softmax):
    text, reference = TEXT[:in_softmax], TEXT[in_softmax:]
    found = whole_views([IMAGES], text, reference, num_classes=2, logit_scale=10)

    assert found.is_background.tolist() == [False, False, True, True]


def test_names_beside_the_softmax_do_not_change_its_answer():
    alone = whole_views([IMAGES], TEXT[:2], TEXT[:0], num_classes=2, logit_scale=10)
    beside = whole_views([IMAGES], TEXT[:2], TEXT[2:], num_classes=2, logit_scale=10)

    assert torch.equal(alone.entropy, beside.entropy)
    assert torch.equal(alone.top, beside.top)


def test_shards_are_joined_in_order():
    whole = whole_views([IMAGES], TEXT, TEXT[:0], num_classes=2, logit_scale=10)
    sharded = whole_views([IMAGES[:1], IMAGES[1:]], TEXT, TEXT[:0], num_classes=2, logit_scale=10)

    assert torch.equal(whole.top, sharded.top)
    assert torch.equal(whole.is_background, sharded.is_background)


def test_the_overlap_of_boxes_is_what_they_share_of_what_they_cover():
    a = boxes([0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 2, 2])
    b = boxes([2, 0, 6, 4], [0, 0, 4, 4], [2, 2, 4, 4])

    # 8 of 24 pixels; all; they only touch.
    assert box_overlap(a, b).tolist() == pytest.approx([8 / 24, 1, 0])


def test_the_overlap_does_not_depend_on_the_order_of_the_boxes():
    corners = torch.randint(0, 50, (40, 2), generator=torch.Generator().manual_seed(0))
    sides = torch.randint(1, 50, (40, 2), generator=torch.Generator().manual_seed(1))
    all_boxes = torch.cat([corners, corners + sides], dim=1)
    a, b = all_boxes[:20], all_boxes[20:]

    assert torch.equal(box_overlap(a, b), box_overlap(b, a))
    assert (box_overlap(a, b) <= 1).all()


def test_only_images_with_a_view_of_both_classes_are_compared():
    views = Views(
        boxes=boxes([0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 9, 9], [0, 0, 4, 4], [0, 0, 4, 4]),
        classes=torch.tensor([0, 1, 0, 1, 0]),
        offsets=torch.tensor([0, 2, 3, 5]),
    )

    # Image 0 has both, image 1 lacks class 1, image 2 has both but is not asked for.
    assert views.overlaps(torch.tensor([0, 1]), 0, 1).tolist() == pytest.approx([8 / 24])
    assert views.overlaps(torch.tensor([2]), 1, 0).tolist() == [1]


def test_images_without_views_have_no_overlap():
    views = Views(
        torch.zeros(0, 4, dtype=torch.int32),
        torch.zeros(0, dtype=torch.int32),
        torch.zeros(3).long(),
    )

    assert views.overlaps(torch.tensor([0, 1]), 0, 1).tolist() == []

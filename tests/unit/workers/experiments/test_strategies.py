import pytest
import torch

from models.data import ImageFiles
from models.distill import LocalViews
from models.prompts import ClassPrompt
from workers.experiments.inputs import Labelled
from workers.experiments.strategies import (
    CROPS_PER_BOX,
    RANDOM_BOXES,
    RANDOM_SIDES,
    around_true_boxes,
    boxes_of,
    boxes_seen,
    closeness,
    crops_on_target,
    holds_centre,
    placed,
    random_boxes,
    true_boxes,
    with_room,
)


def labelled(*boxes, size=(100, 100)):
    """Images of one size with the (class, box) pairs of each."""
    nothing = torch.zeros(len(boxes), 2, dtype=torch.bool)
    files = ImageFiles([b""] * len(boxes), [""] * len(boxes))
    classes = [ClassPrompt("cat"), ClassPrompt("dog")]
    return Labelled(files, [size] * len(boxes), classes, nothing, nothing, boxes)


def local_views(*rows, images):
    """Views from (image, class, box) rows, in order of the images."""
    owners = torch.tensor([row[0] for row in rows], dtype=torch.int64)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), owners.bincount(minlength=images)])
    return LocalViews(
        boxes=torch.tensor([row[2] for row in rows], dtype=torch.int32),
        classes=torch.tensor([row[1] for row in rows], dtype=torch.int32),
        offsets=offsets.cumsum(0),
        view_probs=torch.zeros(len(rows), 2),
        local_probs=torch.zeros(images, 2),
    )


def test_a_true_box_that_is_square_is_looked_into_as_it_is():
    assert true_boxes(labelled([(0, (10, 20, 30, 40))])) == [[(10, 20, 30, 40)]]


def test_a_true_box_that_is_not_square_is_grown_to_one_as_every_view_is():
    assert true_boxes(labelled([(0, (10, 20, 50, 40))])) == [[(10, 10, 50, 50)]]


def test_room_is_counted_in_the_sides_of_the_box():
    box = torch.tensor([0.4, 0.4, 0.6, 0.8])  # 0.2 wide, 0.4 high

    roomy = with_room(box, torch.tensor([0.5, 0.25, 1.0, 0.0]))

    assert torch.allclose(roomy, torch.tensor([0.3, 0.3, 0.8, 0.8]))


def test_room_ends_at_the_edge_of_the_image():
    roomy = with_room(torch.tensor([0.1, 0.1, 0.9, 0.9]), torch.ones(4))

    assert roomy.tolist() == [0, 0, 1, 1]


def test_every_view_around_a_true_box_holds_it_whole():
    images = labelled([(0, (10, 20, 30, 60)), (1, (70, 5, 95, 25))], [], [(1, (0, 0, 8, 8))])

    views = around_true_boxes(images, seed=3)

    assert [len(of_image) for of_image in views] == [2 * CROPS_PER_BOX, 0, CROPS_PER_BOX]
    for of_image, boxes in zip(views, images.boxes, strict=True):
        owners = [box for _, box in boxes for _ in range(CROPS_PER_BOX)]
        for view, box in zip(of_image, owners, strict=True):
            assert view[0] <= box[0]
            assert view[1] <= box[1]
            assert view[2] >= box[2]
            assert view[3] >= box[3]


def test_views_around_true_boxes_differ_by_seed_and_are_the_same_for_one():
    images = labelled([(0, (40, 40, 60, 60))])

    assert around_true_boxes(images, seed=1) == around_true_boxes(images, seed=1)
    assert around_true_boxes(images, seed=1) != around_true_boxes(images, seed=2)


def test_draws_place_a_random_box_from_corner_to_corner():
    low, high = RANDOM_SIDES
    first = placed(torch.tensor([0.0, 0.0, 0.0, 0.0]))
    last = placed(torch.tensor([1.0, 1.0, 1.0, 1.0]))

    assert torch.allclose(first, torch.tensor([0, 0, low, low]))
    assert torch.allclose(last, torch.tensor([1 - high, 1 - high, 1, 1]))


def test_random_boxes_are_as_many_as_tiles_and_lie_in_the_image():
    views = random_boxes(labelled([], [], size=(200, 100)), seed=5)

    assert [len(of_image) for of_image in views] == [RANDOM_BOXES] * 2
    assert all(0 <= x0 < x1 <= 200 and 0 <= y0 < y1 <= 100 for v in views for x0, y0, x1, y1 in v)


def test_a_view_holds_the_middle_of_a_box_but_not_one_on_its_far_edge():
    view = (0, 0, 10, 10)

    assert holds_centre(view, (8, 8, 11, 11))  # middle 9.5
    assert not holds_centre(view, (8, 0, 12, 2))  # middle 10 across


def test_boxes_seen_is_the_share_of_true_boxes_with_their_middle_in_a_view():
    images = labelled([(0, (0, 0, 10, 10)), (1, (50, 50, 60, 60))], [(0, (0, 0, 4, 4))])

    assert boxes_seen(images, [[(0, 0, 20, 20)], [(90, 90, 95, 95), (0, 0, 5, 5)]]) == (
        pytest.approx(200 / 3)
    )


def test_closeness_is_the_part_of_the_best_view_that_a_box_fills():
    images = labelled([(0, (0, 0, 10, 10)), (1, (80, 80, 90, 90))])
    # The first box fills a quarter of one view and 1/16 of another; the second is not seen.
    views = [[(0, 0, 20, 20), (0, 0, 40, 40)]]

    assert closeness(images, views) == pytest.approx(25)


def test_crops_on_target_counts_only_crops_of_classes_that_are_there():
    images = labelled([(0, (0, 0, 10, 10))], [(1, (50, 50, 60, 60))])
    views = local_views(
        (0, 0, (0, 0, 20, 20)),  # on it
        (0, 1, (0, 0, 20, 20)),  # of a class that is not there
        (1, 1, (0, 0, 20, 20)),  # beside it
        images=2,
    )

    assert crops_on_target(images, views) == pytest.approx(50)


def test_boxes_of_gives_each_box_of_an_image_once():
    views = local_views((0, 0, (0, 0, 5, 5)), (0, 1, (0, 0, 5, 5)), (2, 0, (1, 1, 2, 2)), images=3)

    assert boxes_of(views) == [[(0, 0, 5, 5)], [], [(1, 1, 2, 2)]]

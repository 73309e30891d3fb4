"""Which classes get a local view, and the box their CAM gives."""

import pytest
import torch
from torch import Tensor

from models import views
from models.views import box_in_pixels, cam_boxes, class_threshold


def random_probs(n: int, num_classes: int, *, seed: int = 0) -> Tensor:
    return torch.rand(n, num_classes, generator=torch.Generator().manual_seed(seed))


def peak(row: int, column: int, *, side: int = 8, value: float = 1.0) -> Tensor:
    cam = torch.zeros(side, side)
    cam[row, column] = value
    return cam


def boxes_of(*cams: Tensor, size: int = 8, threshold: float = 0.95, margin: float = 0.0):
    return cam_boxes(torch.stack(cams), size=size, threshold=threshold, margin=margin)


def test_the_class_threshold_by_hand():
    probs = torch.tensor([[0.9, 0.5, 0.1], [0.8, 0.7, 0.3]])

    # Three classes of two images at 1.5 an image: 0.9, 0.8 and 0.7.
    assert class_threshold(probs, 1.5) == pytest.approx(0.7)


@pytest.mark.parametrize("wanted", [0.3, 1, 2.5, 7, 10])
def test_the_mean_number_of_classes_is_the_wanted_one(wanted):
    probs = random_probs(200, 10)

    selected = probs >= class_threshold(probs, wanted)

    assert selected.sum().item() == round(200 * wanted)


def test_more_classes_than_there_are_selects_all():
    probs = random_probs(10, 3)

    assert (probs >= class_threshold(probs, 10.0)).all()


def test_at_least_one_class_is_selected():
    probs = random_probs(2, 3)

    assert (probs >= class_threshold(probs, 0.01)).sum().item() == 1


def test_equal_probabilities_are_selected_together_and_never_fewer_than_wanted():
    probs = torch.tensor([[0.9, 0.5, 0.5, 0.5, 0.1]])

    assert (probs >= class_threshold(probs, 2)).sum().item() == 4


def test_wanting_more_classes_never_raises_the_threshold():
    probs = random_probs(50, 8)
    thresholds = [class_threshold(probs, wanted / 4) for wanted in range(1, 33)]

    assert thresholds == sorted(thresholds, reverse=True)


def test_the_order_of_the_classes_does_not_change_the_class_threshold():
    probs = random_probs(50, 8)

    assert class_threshold(probs.flip(1), 3) == class_threshold(probs, 3)


def test_a_cam_at_its_own_size_gives_the_cells_over_the_threshold():
    cam = peak(2, 3)
    cam[5, 6] = 0.99
    cam[7, 7] = 0.5  # below 0.95

    boxes, found = boxes_of(cam)

    # Columns 3 to 6, rows 2 to 5, right and bottom exclusive, of 8.
    assert boxes.tolist() == [[3 / 8, 2 / 8, 7 / 8, 6 / 8]]
    assert found.tolist() == [True]


def test_the_box_bounds_all_kept_pixels_not_the_first_and_last_in_row_order():
    # First and last in row order are columns 4 and 3; the outermost are 1 and 6.
    cam = peak(1, 4) + peak(3, 1) + peak(4, 6) + peak(6, 3)

    boxes, _ = boxes_of(cam)

    assert boxes.tolist() == [[1 / 8, 1 / 8, 7 / 8, 7 / 8]]


def test_the_margin_is_added_on_each_side_and_clipped_to_the_view():
    boxes, _ = boxes_of(peak(0, 3), margin=0.125)

    assert boxes.tolist() == [[2 / 8, 0.0, 5 / 8, 2 / 8]]


def test_upsampling_keeps_the_box_at_its_place():
    boxes, found = boxes_of(peak(3, 5), size=640, margin=0.0)
    x0, y0, x1, y1 = boxes[0].tolist()

    assert found.all()
    # The middle of cell (3, 5) is at (5.5 / 8, 3.5 / 8); upsampled, only the tip is over 0.95.
    assert (x0 + x1) / 2 == pytest.approx(5.5 / 8, abs=1e-3)
    assert (y0 + y1) / 2 == pytest.approx(3.5 / 8, abs=1e-3)
    assert x1 - x0 == pytest.approx(y1 - y0, abs=1e-6)
    assert 0 < x1 - x0 < 1 / 8


def test_the_crop_of_a_point_at_the_papers_margin_is_a_quarter_of_the_view():
    boxes, _ = boxes_of(peak(4, 4), size=640, margin=0.125)
    x0, _, x1, _ = boxes[0].tolist()

    assert 0.25 < x1 - x0 < 0.25 + 1 / 8


def test_the_scale_of_a_cam_does_not_change_its_box():
    cam = random_probs(7, 7, seed=3)

    boxes, _ = boxes_of(cam, 1000 * cam - 500, size=56)

    assert torch.equal(boxes[0], boxes[1])


@pytest.mark.parametrize("value", [0.0, -3.0, 1e6])
def test_a_flat_cam_gives_no_box(value):
    boxes, found = boxes_of(torch.full((8, 8), value), margin=0.125)

    assert boxes.tolist() == [[0.0] * 4]
    assert found.tolist() == [False]


def test_a_cam_that_is_not_a_number_gives_no_box():
    _, found = boxes_of(torch.full((8, 8), torch.nan))

    assert found.tolist() == [False]


def test_flipping_a_cam_flips_its_box():
    cam = random_probs(7, 7, seed=5)
    boxes, _ = boxes_of(cam, cam.flip(1), cam.flip(0), size=70, threshold=0.7)
    x0, y0, x1, y1 = boxes[0].tolist()

    assert boxes[1].tolist() == pytest.approx([1 - x1, y0, 1 - x0, y1])
    assert boxes[2].tolist() == pytest.approx([x0, 1 - y1, x1, 1 - y0])


def test_a_higher_threshold_never_widens_a_box():
    cams = random_probs(20, 49, seed=6).reshape(20, 7, 7)
    wide, _ = cam_boxes(cams, size=56, threshold=0.5, margin=0.0)
    narrow, _ = cam_boxes(cams, size=56, threshold=0.95, margin=0.0)

    assert (wide[:, :2] <= narrow[:, :2]).all()
    assert (wide[:, 2:] >= narrow[:, 2:]).all()


def test_cutting_the_work_into_chunks_changes_nothing(monkeypatch):
    cams = random_probs(11, 49, seed=7).reshape(11, 7, 7)
    whole = cam_boxes(cams, size=32, threshold=0.9, margin=0.1)

    monkeypatch.setattr(views, "CHUNK_PIXELS", 2 * 32**2)
    chunked = cam_boxes(cams, size=32, threshold=0.9, margin=0.1)

    assert torch.equal(whole[0], chunked[0])
    assert torch.equal(whole[1], chunked[1])


def test_no_cam_gives_no_box():
    boxes, found = cam_boxes(torch.zeros(0, 7, 7), size=56, threshold=0.95, margin=0.1)

    assert boxes.shape == (0, 4)
    assert found.shape == (0,)


def test_a_box_in_pixels_by_hand():
    # 100 to 200 of 400 columns, 100 to 150 of 200 rows: 100 x 50, grown to 100 x 100.
    box = torch.tensor([0.25, 0.5, 0.5, 0.75])

    assert box_in_pixels(box, 400, 200) == (100, 75, 200, 175)


def test_a_square_box_stays_as_it_is():
    assert box_in_pixels(torch.tensor([0.1, 0.2, 0.4, 0.5]), 100, 100) == (10, 20, 40, 50)


def test_a_box_at_the_border_grows_inwards():
    box = torch.tensor([0.0, 0.0, 0.5, 0.1])

    assert box_in_pixels(box, 100, 100) == (0, 0, 50, 50)


def test_a_box_wider_than_the_image_is_high_takes_all_of_its_height():
    box = torch.tensor([0.0, 0.4, 1.0, 0.6])

    assert box_in_pixels(box, 300, 100) == (0, 0, 300, 100)


def test_the_whole_view_is_the_whole_image():
    assert box_in_pixels(torch.tensor([0.0, 0.0, 1.0, 1.0]), 37, 91) == (0, 0, 37, 91)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_a_crop_has_at_least_one_pixel(size):
    for box in ([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]):
        x0, y0, x1, y1 = box_in_pixels(torch.tensor(box), *size)
        assert 0 <= x0 < x1 <= size[0]
        assert 0 <= y0 < y1 <= size[1]


def test_a_grown_box_is_square_where_it_can_be_and_holds_what_it_grew_from():
    corners = random_probs(300, 4, seed=8)
    sizes = (1 + 400 * random_probs(300, 2, seed=9)).int().tolist()
    for corner, (width, height) in zip(corners, sizes, strict=True):
        left, right = sorted(corner[:2].tolist())
        top, bottom = sorted(corner[2:].tolist())
        x0, y0, x1, y1 = box_in_pixels(torch.tensor([left, top, right, bottom]), width, height)

        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x0 <= left * width + 0.5 + 1e-3
        assert x1 >= right * width - 0.5 - 1e-3
        assert y0 <= top * height + 0.5 + 1e-3
        assert y1 >= bottom * height - 0.5 - 1e-3
        side = max(x1 - x0, y1 - y0)
        assert x1 - x0 == min(side, width)
        assert y1 - y0 == min(side, height)

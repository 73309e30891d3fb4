import pytest
import torch

from models.cdul import aggregate_tiles, cdul_labels, tile_boxes


def test_tiles_cover_the_image_row_by_row():
    boxes = tile_boxes(2)

    assert boxes.tolist() == [
        [0, 0, 0.5, 0.5],
        [0.5, 0, 1, 0.5],
        [0, 0.5, 0.5, 1],
        [0.5, 0.5, 1, 1],
    ]


def test_there_are_nine_tiles_of_a_ninth_each():
    boxes = tile_boxes()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    assert len(boxes) == 9
    assert torch.allclose(areas, torch.full((9,), 1 / 9))


def test_a_class_that_is_seen_gets_its_largest_probability_and_any_other_its_least():
    # Two tiles, three classes: 0.9 is seen, 0.5 just so, 0.4 is not.
    tiles = torch.tensor([[[0.9, 0.1, 0.0], [0.1, 0.5, 0.4]]])

    assert aggregate_tiles(tiles).tolist() == [[pytest.approx(0.9), 0.5, 0.0]]


def test_the_line_between_seen_and_not_can_be_moved():
    tiles = torch.tensor([[[0.3], [0.2]]])

    assert aggregate_tiles(tiles, seen=0.25).item() == pytest.approx(0.3)
    assert aggregate_tiles(tiles, seen=0.35).item() == pytest.approx(0.2)


def test_one_tile_is_the_local_answer_whatever_is_seen():
    tiles = torch.rand(5, 1, 4, generator=torch.Generator().manual_seed(1))

    assert torch.equal(aggregate_tiles(tiles), tiles[:, 0])


def test_labels_are_the_mean_of_whole_view_and_tiles():
    whole = torch.tensor([[0.2, 0.8]])
    tiles = torch.tensor([[[0.6, 0.4], [0.7, 0.3]]])  # aggregated: 0.7 and 0.3

    assert torch.allclose(cdul_labels(whole, tiles), torch.tensor([[0.45, 0.55]]))


def test_labels_stay_between_the_least_and_the_largest_answer():
    generator = torch.Generator().manual_seed(2)
    whole = torch.rand(20, 6, generator=generator).softmax(dim=1)
    tiles = torch.randn(20, 9, 6, generator=generator).softmax(dim=2)
    answers = torch.cat([whole[:, None], tiles], dim=1)

    labels = cdul_labels(whole, tiles)

    assert (labels <= answers.amax(dim=1)).all()
    assert (labels >= answers.amin(dim=1)).all()

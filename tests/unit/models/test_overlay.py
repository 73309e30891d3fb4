"""A map lies where its cells saw the image, and its colours read without hue."""

import pytest
import torch

from models.overlay import STRIP_ROWS, WEIGHT, heat_colors, min_max, overlay, upsample
from models.views import cam_boxes

STEPS = torch.linspace(0, 1, 256)
#: What people without one kind of cone see, in linear light (Machado, Oliveira, Fernandes 2009).
NO_RED = torch.tensor(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.052]]
)
NO_GREEN = torch.tensor(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
BRIGHTNESS = torch.tensor([0.2126, 0.7152, 0.0722])


def peak(row, column, *, height, width):
    cam = torch.zeros(height, width)
    cam[row, column] = 1
    return cam


def linear(colors):
    return torch.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def test_upsampling_by_hand():
    # Two cells over four pixels: their middles lie at pixels 0.5 and 2.5, between them a line.
    found = upsample(torch.tensor([[0.0, 1.0]]), height=1, width=4)

    assert found.tolist() == [[0.0, 0.25, 0.75, 1.0]]


@pytest.mark.parametrize(("height", "width"), [(30, 50), (90, 20), (7, 7), (64, 64), (41, 13)])
@pytest.mark.parametrize("cell", [(0, 0), (2, 4), (1, 3)])
def test_a_peak_lies_in_the_part_of_the_image_that_its_cell_saw(height, width, cell):
    found = upsample(peak(*cell, height=3, width=5), height=height, width=width)

    row, column = divmod(found.argmax().item(), width)
    assert cell[0] == int((row + 0.5) / height * 3)
    assert cell[1] == int((column + 0.5) / width * 5)


@pytest.mark.parametrize("cell", [(0, 0), (3, 6), (6, 2)])
def test_the_hot_part_is_the_box_of_the_local_view(cell):
    cam = peak(*cell, height=7, width=7)
    box, _ = cam_boxes(cam[None], size=140, threshold=0.95, margin=0.0)

    rows, columns = (min_max(upsample(cam, height=140, width=140)) > 0.95).nonzero(as_tuple=True)

    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (box[0] * 140).round().tolist() == torch.stack(extent).tolist()


def test_a_map_of_its_own_size_stays_as_it_is():
    cam = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))

    assert torch.equal(upsample(cam, height=5, width=8), cam)


def test_upsampling_never_leaves_the_range_of_the_cells():
    cam = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))

    found = upsample(cam, height=101, width=57)

    assert found.min() >= cam.min()
    assert found.max() <= cam.max()


def test_mirrored_cells_give_the_mirrored_map():
    cam = torch.randn(6, 9, generator=torch.Generator().manual_seed(2))

    found = upsample(cam.flip(1), height=44, width=70)

    assert torch.allclose(found, upsample(cam, height=44, width=70).flip(1), atol=1e-5)


def test_min_max_reaches_from_0_to_1_and_leaves_a_flat_map_cold():
    assert min_max(torch.tensor([-3.0, 1.0, 5.0])).tolist() == pytest.approx([0, 0.5, 1], abs=1e-5)
    assert min_max(torch.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "sees", [torch.eye(3), NO_RED, NO_GREEN], ids=["all", "no red", "no green"]
)
def test_hotter_is_brighter_whoever_looks(sees):
    brightness = linear(heat_colors(STEPS)) @ sees.T @ BRIGHTNESS

    assert (brightness.diff() > 0).all()


def test_every_colour_can_be_shown():
    colors = heat_colors(STEPS)

    # A channel cut off at either end would break the even steps.
    assert colors.min() > 0
    assert colors.max() < 1


def test_equal_steps_of_heat_look_equal():
    # The inverse of what is under test, from sRGB back to OKLab, by its published matrices.
    cones = (
        linear(heat_colors(STEPS).double())
        @ torch.tensor(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ],
            dtype=torch.float64,
        ).T
    )
    lab = (
        cones.pow(1 / 3)
        @ torch.tensor(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ],
            dtype=torch.float64,
        ).T
    )
    steps = lab.diff(dim=0).norm(dim=1)

    assert steps.max() / steps.min() == pytest.approx(1, abs=0.01)


def test_an_overlay_by_hand():
    white = torch.full((3, 1, 2), 255, dtype=torch.uint8)
    heat = torch.tensor([[0.0, 1.0]])

    found = overlay(white, heat)

    expected = 1 - WEIGHT + WEIGHT * heat_colors(heat[0]).T
    assert found[:, 0].tolist() == (expected * 255).round().int().tolist()
    assert found.dtype == torch.uint8


def test_a_large_picture_is_coloured_a_few_rows_at_a_time(monkeypatch):
    rng = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (3, 2 * STRIP_ROWS + 5, 7), dtype=torch.uint8, generator=rng)
    heat = torch.rand(image.shape[1:], generator=rng)
    sizes = []

    def spied(part):
        sizes.append(part.shape[0])
        return heat_colors(part)

    monkeypatch.setattr("models.overlay.heat_colors", spied)

    whole = overlay(image, heat)

    assert sizes == [STRIP_ROWS, STRIP_ROWS, 5]
    rows = [overlay(image[:, i : i + 1], heat[i : i + 1]) for i in range(len(heat))]
    assert (whole.int() - torch.cat(rows, dim=1).int()).abs().max() <= 1


def test_colour_means_heat_alone():
    """Images of one brightness look the same under the map: their own hue is gone."""
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)
    grey = torch.full((3, 1, 1), round(0.2126 * 255), dtype=torch.uint8)
    heat = torch.tensor([[0.5]])

    assert (overlay(red, heat).int() - overlay(grey, heat).int()).abs().max() <= 1


@pytest.mark.parametrize(
    "sees", [torch.eye(3), NO_RED, NO_GREEN], ids=["all", "no red", "no green"]
)
@pytest.mark.parametrize("grey", [0, 60, 128, 255])
def test_on_every_grey_hotter_is_brighter_whoever_looks(grey, sees):
    heat = torch.linspace(0, 1, 40)[None]
    image = torch.full((3, 1, 40), grey, dtype=torch.uint8)

    found = overlay(image, heat)[:, 0].T / 255

    assert ((linear(found) @ sees.T @ BRIGHTNESS).diff() > 0).all()

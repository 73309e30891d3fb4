import pytest
import torch

from demo.captions import NAMES
from demo.stage import Thing
from demo.views import store_scenes, view_batch, visible
from demo.world import WORLD, draw_scene


@pytest.fixture(scope="module")
def scenes():
    return store_scenes(7, 6, WORLD, processes=1)


def test_stored_scenes_are_the_drawn_ones(scenes):
    scene = draw_scene(7, 3)

    assert scenes[3].jpeg == scene.jpeg()
    assert scenes[3].things == (*scene.targets, *scene.distractors)


def test_the_same_key_gives_the_same_views(scenes):
    pixels, subjects = view_batch(scenes, 5, 80, (1, 2))
    again, subjects_again = view_batch(scenes, 5, 80, (1, 2))
    other, _ = view_batch(scenes, 5, 80, (1, 3))

    assert torch.equal(pixels, again)
    assert torch.equal(subjects, subjects_again)
    assert not torch.equal(pixels, other)


def test_views_are_square_and_their_subjects_are_names(scenes):
    pixels, subjects = view_batch(scenes, 12, 80, (0, 0))

    assert (pixels.shape, pixels.dtype) == ((12, 3, 80, 80), torch.uint8)
    assert subjects.min() >= 0
    assert subjects.max() < len(NAMES)


def test_a_thing_is_visible_when_half_of_it_lies_in_the_view():
    things = [Thing("cat", (0, 0, 20, 10)), Thing("dog", (60, 60, 100, 100))]

    # 10 of the cat's 20 columns are shown, 10 x 10 of a view of 50 x 100; the dog is outside.
    seen = visible(things, (10, 0, 60, 100))

    assert [(thing.name, thing.area) for thing in seen] == [("cat", 0.02)]


def test_a_thing_that_is_mostly_cut_off_is_not_visible():
    assert visible([Thing("cat", (0, 0, 20, 10))], (11, 0, 60, 100)) == []

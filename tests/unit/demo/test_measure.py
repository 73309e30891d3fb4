import json
import math

import pytest
import torch

from demo.captions import words
from demo.measure import measure, square_around
from demo.places import SIDE
from demo.train_teacher import model_config, new_model, save_teacher
from demo.views import store_scenes
from demo.world import TEACHER_SEEDS, WORLD
from models.teacher import load_teacher
from models.tokens import BUNDLED


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((100, 100, 120, 110), (98, 93, 122, 117)),  # 20 + 2 x 2 wide, moved up and left by half
        ((0, 0, 20, 10), (0, 0, 24, 24)),  # pushed back into the picture
        ((0, 10, SIDE, 20), (0, 0, SIDE, SIDE)),  # never larger than the picture
    ],
)
def test_the_crop_of_a_box_is_a_square_inside_the_picture(box, square):
    assert square_around(box, margin=2) == square


def test_a_fresh_teacher_sees_with_the_weights_of_imagenet():
    torch.manual_seed(0)
    stem = new_model(model_config(words())).visual.trunk.conv_stem.weight
    torch.manual_seed(1)
    again = new_model(model_config(words())).visual.trunk.conv_stem.weight

    assert torch.equal(stem, again)


def test_a_saved_teacher_can_be_loaded_and_is_small(tmp_path):
    config = model_config(words())
    save_teacher(new_model(config), config, tmp_path)

    teacher = load_teacher(f"local-dir:{tmp_path}")

    assert (teacher.view_size, teacher.feature_dim) == (80, 128)
    assert teacher.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)
    assert (tmp_path / "open_clip_model.safetensors").stat().st_size < 16e6


def test_the_bundled_teacher_knows_the_words_of_the_captions():
    vocabulary = json.loads((BUNDLED["bundled:tiny"] / "vocabulary.json").read_text())

    assert tuple(vocabulary) == words()


def test_the_bundled_teacher_sees_more_in_true_boxes_than_in_whole_views():
    scenes = store_scenes(TEACHER_SEEDS[1], 32, WORLD, processes=1)

    figures = measure(load_teacher("bundled:tiny"), scenes)

    assert figures.true_boxes > figures.whole_view + 10
    assert figures.whole_view > 2 * figures.chance
    assert 0 < figures.mean_entropy < math.log(20)

"""The phases of the method in one process, on a handful of drawn scenes."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
import torch
from torch import Tensor

from demo.world import CLASSES, write_world
from models import distill
from models.config import PRESETS, DistillConfig
from models.data import ImageFiles, originals
from models.distill import gain_rises, select_epoch
from models.images import crop_resize, to_tensor
from models.prompts import ClassPrompt
from models.teacher import Teacher
from models.training import Training

TINY = replace(PRESETS["tiny"], warm_up_epochs=1, train_epochs=1, batch_size=6)
NAMES = [ClassPrompt(name) for name in CLASSES[:5]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    folder = tmp_path_factory.mktemp("scenes")
    write_world(folder, count=12, seed=5)
    paths = sorted(folder.rglob("*.jpg"))
    return ImageFiles(paths, [sha256(path.read_bytes()).hexdigest() for path in paths])


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return distill.load_teacher_of(TINY, device=torch.device("cpu"), weights_dir=None)


@pytest.fixture
def training(teacher: Teacher) -> Training:
    return distill.start_training(TINY, len(NAMES), teacher, "cpu", None)


def soft_labels(files: ImageFiles) -> Tensor:
    """Any labels with a few ones: what they say does not matter here."""
    return torch.linspace(0, 1, len(files) * len(NAMES)).reshape(len(files), -1).round(decimals=1)


def train(
    training: Training, files: ImageFiles, epoch: int, config: DistillConfig = TINY
) -> distill.EpochResult:
    return distill.train_epoch(
        training, files, soft_labels(files), epoch=epoch, config=config, threads=1
    )


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_selected_epoch_is_the_first_whose_gain_rises() -> None:
    # Gains 44.5, 9.7, 3.3, 1.3, 0.9, 1.3: the first rise is at epoch 6.
    scores = [28.5, 73.0, 82.7, 86.0, 87.3, 88.2, 89.5, 90.4]

    assert select_epoch(scores, warm_up_epochs=2) == 6


def test_the_last_epoch_is_selected_when_no_gain_rises() -> None:
    assert select_epoch([10, 30, 40, 45, 47], warm_up_epochs=2) == 4


def test_a_warm_up_epoch_is_never_selected() -> None:
    # Gains 10, 20, 5: the only rise is at epoch 2, which still belongs to the warm-up.
    assert select_epoch([10, 20, 40, 45], warm_up_epochs=3) == 3


def test_selection_looks_at_no_later_epoch() -> None:
    assert select_epoch([10, 20, 40, 45, 60, 99], 2) == 4
    assert select_epoch([10, 20, 40, 45, 60, 0], 2) == 4


def test_the_gain_at_the_change_of_labels_does_not_count() -> None:
    # From the warm-up's 6 to 40: other labels, and no sign of a student that has learned enough.
    assert select_epoch([5, 6, 40, 60, 70, 75], 2) == 5


def test_two_scores_have_no_rise() -> None:
    assert not gain_rises([0.1, 0.9])


def test_embedding_in_shards_equals_embedding_at_once(files: ImageFiles, teacher: Teacher) -> None:
    whole = distill.embed(teacher, files, range(12), batch_size=4, threads=1)
    shards = [
        distill.embed(teacher, files, range(k, k + 4), batch_size=4, threads=1) for k in (0, 4, 8)
    ]

    assert torch.equal(whole, torch.cat(shards))


def test_local_views_equal_one_crop_per_forward_pass(
    files: ImageFiles, teacher: Teacher, training: Training
) -> None:
    names = distill.encode_names(teacher, NAMES, TINY)
    views = distill.localize(
        teacher, names, training.student, files, range(12), threshold=0.0, config=TINY, threads=2
    )
    images = [image for _, image in originals(files, range(12), threads=1)]
    image_of_view = torch.repeat_interleave(torch.arange(12), views.offsets.diff())
    for row, (image, box) in enumerate(
        zip(image_of_view.tolist(), views.boxes.tolist(), strict=True)
    ):
        crop = to_tensor(crop_resize(images[image], tuple(box), teacher.view_size))
        alone = names.probs(teacher.encode_images(crop[None]))[0, : len(NAMES)]
        assert torch.allclose(views.view_probs[row], alone, atol=1e-4)


def test_local_labels_are_the_largest_probability_over_the_views_of_an_image(
    files: ImageFiles, teacher: Teacher, training: Training
) -> None:
    names = distill.encode_names(teacher, NAMES, TINY)
    views = distill.localize(
        teacher, names, training.student, files, range(3), threshold=0.0, config=TINY, threads=1
    )
    first = views.view_probs[: int(views.offsets[1])]

    assert torch.equal(views.local_probs[0], first.max(dim=0).values)


def test_no_class_over_the_threshold_gives_no_view_and_zero_local_labels(
    files: ImageFiles, teacher: Teacher, training: Training
) -> None:
    names = distill.encode_names(teacher, NAMES, TINY)
    views = distill.localize(
        teacher, names, training.student, files, range(3), threshold=2.0, config=TINY, threads=1
    )

    assert views.boxes.shape == (0, 4)
    assert views.local_probs.eq(0).all()
    assert views.local_probs.shape == (3, len(NAMES))


def test_a_training_restored_from_its_tensors_goes_on_to_the_same_bytes(
    files: ImageFiles, teacher: Teacher, training: Training
) -> None:
    train(training, files, epoch=0)
    restored = distill.start_training(TINY, len(NAMES), teacher, "cpu", None)
    restored.restore(training.weights(), training.optimizer_state())

    train(training, files, epoch=1)
    train(restored, files, epoch=1)

    assert same(training.weights(), restored.weights())
    assert same(training.optimizer_state(), restored.optimizer_state())


def test_a_moving_average_is_restored_too(files: ImageFiles, teacher: Teacher) -> None:
    config = replace(TINY, ema_decay=0.9, lr_schedule="cosine")
    first = distill.start_training(config, len(NAMES), teacher, "cpu", None)
    train(first, files, 0, config)
    second = distill.start_training(config, len(NAMES), teacher, "cpu", None)
    second.restore(first.weights(), first.optimizer_state())

    train(first, files, 1, config)
    train(second, files, 1, config)

    assert same(first.weights(), second.weights())
    assert not same(first.weights(), dict(first.student.state_dict()))


def test_the_warm_up_ignores_the_strong_view(files: ImageFiles, teacher: Teacher) -> None:
    results = []
    for weight in (0.0, 1.0):
        config = replace(TINY, consistency_weight=weight)
        training = distill.start_training(config, len(NAMES), teacher, "cpu", None)
        results.append(train(training, files, 0, config))

    assert results[0] == results[1]


def test_the_main_training_adds_the_consistency_loss(files: ImageFiles, teacher: Teacher) -> None:
    losses = []
    for weight in (0.0, 1.0):
        config = replace(TINY, consistency_weight=weight, backbone_lr=1e-9, head_lr=1e-9)
        training = distill.start_training(config, len(NAMES), teacher, "cpu", None)
        losses.append(train(training, files, 1, config).loss)

    assert losses[1] > losses[0] > 0


def test_an_epoch_can_be_stopped_after_a_batch(files: ImageFiles, training: Training) -> None:
    def stop(done: int) -> None:
        if done >= 6:
            raise KeyError(done)

    with pytest.raises(KeyError, match="6"):
        distill.train_epoch(
            training, files, soft_labels(files), epoch=0, config=TINY, threads=2, on_batch=stop
        )


def test_the_order_of_the_classes_changes_nothing(files: ImageFiles) -> None:
    forward = distill.distill(files, NAMES, TINY, threads=1)
    backward = distill.distill(files, NAMES[::-1], TINY, threads=1)

    for stage in ("global_probs", "debiased", "local_probs", "pseudo", "student_probs"):
        assert torch.equal(getattr(forward, stage), getattr(backward, stage).flip(1)), stage
    assert torch.equal(forward.bias.factors, backward.bias.factors.flip(0))


def test_the_same_seed_gives_the_same_student_and_another_seed_another(files: ImageFiles) -> None:
    first, again, other = (
        distill.distill(files, NAMES, replace(TINY, seed=seed), threads=1) for seed in (1, 1, 2)
    )

    assert torch.equal(first.student_probs, again.student_probs)
    assert not torch.equal(first.student_probs, other.student_probs)


def test_what_comes_out_lies_in_the_unit_interval(files: ImageFiles) -> None:
    phases: list[str] = []
    found = distill.distill(files, NAMES, TINY, threads=1, on_phase=phases.append)

    for stage in (found.global_probs, found.debiased, found.local_probs, found.pseudo):
        assert stage.shape == (12, 5)
        assert stage.min() >= 0
        assert stage.max() <= 1
    assert phases == ["embed", "debias", "warm_up", "localize", "update", "train", "score"]


def test_a_report_asks_about_background_names_that_the_teacher_knows(teacher: Teacher) -> None:
    names = distill.encode_names(teacher, NAMES, TINY)

    reference = distill.encode_reference(teacher, NAMES, names, TINY)

    # The bundled teacher knows what is drawn: tree, sky, street and so on, but no person.
    tree = teacher.encode_classes([ClassPrompt("tree")], TINY.templates)
    assert torch.allclose(reference[0], tree[0], atol=1e-6)
    assert 0 < len(reference) < distill.REFERENCE_NAMES


def test_a_report_asks_about_nothing_where_the_softmax_has_background_names(
    teacher: Teacher,
) -> None:
    names = distill.encode_names(teacher, NAMES, TINY)
    filled = replace(names, num_classes=len(NAMES) - 1)

    assert len(distill.encode_reference(teacher, NAMES, filled, TINY)) == 0


def test_a_report_asks_about_nothing_that_the_teacher_does_not_know(teacher: Teacher) -> None:
    names = distill.encode_names(teacher, NAMES, TINY)
    foreign = replace(TINY, templates=("ein Foto von {}",))

    assert len(distill.encode_reference(teacher, NAMES, names, foreign)) == 0

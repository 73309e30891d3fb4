"""Features, probabilities, and the words that a teacher can be asked about."""

import pytest
import torch

from models.prompts import ClassPrompt
from models.teacher import (
    IMAGENET_MEAN,
    PromptTooLong,
    TeacherError,
    UnknownWords,
    load_teacher,
)

TEMPLATES = ("a photo of a {}",)
CAT, DOG = ClassPrompt("cat"), ClassPrompt("dog")


def images(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_image_features_have_length_one(small_teacher):
    features = small_teacher.encode_images(images())

    assert (features.shape, features.dtype) == ((3, small_teacher.feature_dim), torch.float32)
    assert features.norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_features_do_not_depend_on_the_batch(small_teacher):
    batch = small_teacher.encode_images(images(5))
    single = torch.cat([small_teacher.encode_images(image[None]) for image in images(5)])

    assert torch.allclose(batch, single, atol=1e-5)


def test_the_same_images_give_the_same_bytes(small_teacher):
    assert torch.equal(small_teacher.encode_images(images()), small_teacher.encode_images(images()))


def test_several_prompts_are_averaged_and_normalised_again(small_teacher):
    one = small_teacher.encode_classes([CAT], ("a {}",))
    other = small_teacher.encode_classes([CAT], ("photo of {}",))

    both = small_teacher.encode_classes([CAT, DOG], ("a {}", "photo of {}"))

    mean = (one + other) / 2
    assert torch.allclose(both[:1], mean / mean.norm(), atol=1e-6)
    assert both.norm(dim=1).tolist() == pytest.approx([1, 1])


def test_a_class_with_its_own_prompts_ignores_the_templates(small_teacher):
    own = ClassPrompt("kitty", ("a photo of a cat",))

    features = small_teacher.encode_classes([own], ("a dog, a {}",))

    assert torch.equal(features, small_teacher.encode_classes([CAT], TEMPLATES))


def test_probabilities_are_a_softmax_at_the_teachers_scale(small_teacher):
    image_features = torch.tensor([[1.0, 0.0]])
    text_features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    probs = small_teacher.probs(image_features, text_features)

    # cosines 1 and 0, so the odds are e^scale; a fresh open_clip model has 1 / 0.07 = 14.3
    assert small_teacher.logit_scale == pytest.approx(1 / 0.07, rel=1e-2)
    assert probs[0, 1].item() == pytest.approx(1 / (1 + 2.718281828**small_teacher.logit_scale))


def test_another_scale_can_be_asked_for(teacher_folder, small_teacher):
    other = load_teacher(f"local-dir:{teacher_folder}", logit_scale=3.0)

    assert other.logit_scale == 3.0
    assert other.digest == small_teacher.digest  # no feature changes


def test_unknown_words_are_refused_with_the_class_and_the_nearest(small_teacher):
    with pytest.raises(UnknownWords) as refused:
        small_teacher.encode_classes([CAT, ClassPrompt("traffic lihgt")], TEMPLATES)

    assert (refused.value.code, refused.value.index) == ("unknown_words", 1)
    assert refused.value.words == ("lihgt",)
    assert "light" in refused.value.nearest


def test_a_prompt_over_the_context_is_refused_with_its_length(small_teacher):
    long = ClassPrompt("cat", ("a photo of a cat of a cat of a cat",))

    with pytest.raises(PromptTooLong) as refused:
        small_teacher.check_texts([DOG, long], TEMPLATES)

    assert (refused.value.index, refused.value.tokens, refused.value.limit) == (1, 13, 8)
    assert isinstance(refused.value, TeacherError)


def test_known_short_names_pass(small_teacher):
    small_teacher.check_texts([CAT, DOG, ClassPrompt("traffic light")], ("a {}",))


def test_the_normalisation_of_imagenet_can_be_asked_for(teacher_folder, small_teacher):
    other = load_teacher(f"local-dir:{teacher_folder}", normalisation="imagenet")

    assert (small_teacher.mean, other.mean) == ((0.5, 0.5, 0.5), IMAGENET_MEAN)
    assert other.digest != small_teacher.digest
    assert not torch.allclose(other.encode_images(images()), small_teacher.encode_images(images()))


def test_another_view_size_is_another_digest(teacher_folder, small_teacher):
    other = load_teacher(f"local-dir:{teacher_folder}", view_size=96)

    assert (small_teacher.view_size, other.view_size) == (64, 96)
    assert other.digest != small_teacher.digest


def test_lower_precision_stays_close(teacher_folder, small_teacher):
    half = load_teacher(f"local-dir:{teacher_folder}", precision="bf16")

    cosines = (half.encode_images(images()) * small_teacher.encode_images(images())).sum(dim=1)
    assert cosines.min() > 0.99
    assert half.encode_classes([CAT], TEMPLATES).dtype == torch.float32


def test_the_teacher_is_frozen(small_teacher):
    assert not any(p.requires_grad for p in small_teacher.image_tower.parameters())
    assert not small_teacher.image_tower.training

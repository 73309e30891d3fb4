"""Class names become sentences, in one order, with background where there are too few."""

import random
import unicodedata

import pytest

from models.config import MAX_MIN_NAMES
from models.prompts import (
    BACKGROUND_NAMES,
    ClassPrompt,
    background_classes,
    canonical_order,
    class_texts,
)


def test_the_canonical_order_is_alphabetical_whatever_the_case():
    names = ["dog", "Bus", "cat", "Äpfel"]

    assert [names[i] for i in canonical_order(names)] == ["Bus", "cat", "dog", "Äpfel"]


def test_names_in_any_order_have_one_canonical_order():
    names = ["straße", "Strand", "STRASSENBAHN", "ding", "Ding dong", "Übung", "zebra"]
    expected = [names[i] for i in canonical_order(names)]
    for seed in range(20):
        shuffled = random.Random(seed).sample(names, len(names))
        assert [shuffled[i] for i in canonical_order(shuffled)] == expected


def test_composed_and_decomposed_letters_sort_alike():
    composed = ["cafe", "café", "caff"]
    decomposed = [unicodedata.normalize("NFD", name) for name in composed]

    assert canonical_order(composed) == canonical_order(decomposed)


def test_the_templates_are_filled_with_the_name():
    assert class_texts(ClassPrompt("tram"), ("the {}", "a {}.")) == ("the tram", "a tram.")


def test_prompts_of_a_class_replace_the_templates():
    tram = ClassPrompt("tram", ("a {} in the city", "rails and a pantograph"))

    assert class_texts(tram, ("the {}",)) == ("a tram in the city", "rails and a pantograph")


@pytest.mark.parametrize("name", ["{}", "{0}", "50 % off {x", "a}b{c"])
def test_braces_in_a_name_are_only_characters(name):
    assert class_texts(ClassPrompt(name), ("the {}!",)) == (f"the {name}!",)


def test_background_fills_the_softmax_up_to_the_wanted_number():
    assert len(background_classes(["cat", "dog", "bus"], 20)) == 17


def test_enough_names_need_no_background():
    assert background_classes([f"class {i}" for i in range(20)], 20) == []


def test_one_class_alone_gets_background():
    assert len(background_classes(["cat"], 2)) == 1


def test_a_background_name_never_equals_a_class():
    names = [BACKGROUND_NAMES[0].upper(), BACKGROUND_NAMES[3].title()]
    filled = [c.name for c in background_classes(names, 20)]

    assert len(filled) == 18
    assert not {name.casefold() for name in names} & set(filled)


def test_background_depends_on_the_set_of_names_alone():
    names = ["tree", "cat", "sky"]

    assert background_classes(names, 20) == background_classes(names[::-1], 20)


def test_there_are_enough_background_names_for_every_setting():
    names = list(BACKGROUND_NAMES[: MAX_MIN_NAMES // 2])

    assert len(names) + len(background_classes(names, MAX_MIN_NAMES)) == MAX_MIN_NAMES
    assert len(background_classes(["cat"], MAX_MIN_NAMES)) == MAX_MIN_NAMES - 1


def test_background_names_differ_from_each_other():
    assert len(set(BACKGROUND_NAMES)) == len(BACKGROUND_NAMES) >= MAX_MIN_NAMES

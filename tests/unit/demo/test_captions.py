from collections import Counter

import numpy as np

from demo.captions import NAMES, TASTE, TEMPLATES, Visible, caption, subject, words
from demo.catalogue import CLASSES
from models.tokens import SPECIALS, WordTokenizer, split_words


def test_captions_use_only_words_of_the_vocabulary():
    vocabulary = set(words())

    for template in TEMPLATES:
        for name in NAMES:
            assert set(split_words(template.replace("{}", name))) <= vocabulary


def test_the_vocabulary_begins_with_the_specials_and_holds_each_word_once():
    assert words()[:3] == SPECIALS
    assert len(set(words())) == len(words())


def test_every_caption_fits_the_context_of_the_teacher():
    tokenizer = WordTokenizer(words(), context_length=16)

    longest = max(len(tokenizer.encode(t.replace("{}", n))) for t in TEMPLATES for n in NAMES)
    assert longest <= 16


def test_names_and_classes_are_all_different():
    assert len(set(NAMES)) == len(NAMES)
    assert set(CLASSES) < set(NAMES)


def test_a_caption_holds_its_name():
    rng = np.random.default_rng(0)

    assert all("traffic light" in caption("traffic light", rng) for _ in range(50))


def test_a_view_that_shows_nothing_is_named_after_its_place():
    assert subject([], "beach", np.random.default_rng(0)) == "beach"


def test_the_larger_of_two_objects_is_mostly_named():
    rng = np.random.default_rng(0)
    things = [Visible("apple", 0.1), Visible("ball", 0.2)]  # distractors: no taste between them

    named = Counter(subject(things, "room", rng) for _ in range(900))

    assert 0.85 < named["ball"] / 900 < 0.93  # 2**3 to 1


def test_the_teacher_has_a_taste_for_some_classes():
    rng = np.random.default_rng(0)
    loved, unloved = max(TASTE, key=TASTE.__getitem__), min(TASTE, key=TASTE.__getitem__)
    things = [Visible(loved, 0.1), Visible(unloved, 0.1)]

    named = Counter(subject(things, "room", rng) for _ in range(300))

    assert named[loved] > 280

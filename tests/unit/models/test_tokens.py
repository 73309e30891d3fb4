"""Words become tokens; what is not in the vocabulary is named."""

import open_clip
import pytest

from models.tokens import WordTokenizer, count_tokens

WORDS = ["<pad>", "<start>", "<end>", "a", "photo", "of", "cat", "car"]


@pytest.fixture
def tokenizer():
    return WordTokenizer(WORDS, context_length=6)


def test_a_text_becomes_a_padded_row(tokenizer):
    assert tokenizer(["a photo", "cat"]) == [[1, 3, 4, 2, 0, 0], [1, 6, 2, 0, 0, 0]]


def test_case_and_punctuation_do_not_count(tokenizer):
    assert tokenizer.encode("A photo, of: CAT!") == tokenizer.encode("a photo of cat")


def test_unknown_words_are_listed_in_order(tokenizer):
    assert tokenizer.unknown("a photo of zebra and cat") == ["zebra", "and"]


def test_the_specials_are_no_words_of_a_text(tokenizer):
    assert tokenizer.unknown("<pad> pad") == ["pad", "pad"]


def test_the_nearest_words_look_alike(tokenizer):
    assert tokenizer.nearest("cab") == ["cat", "car"] or tokenizer.nearest("cab") == ["car", "cat"]


def test_no_special_is_ever_near(tokenizer):
    assert tokenizer.nearest("<start>") == []


def test_a_vocabulary_begins_with_the_specials():
    with pytest.raises(ValueError, match="begins with"):
        WordTokenizer(["a", "b", "c"], context_length=6)


def test_start_and_end_are_counted(tokenizer):
    assert count_tokens(tokenizer, "a photo of cat") == 6


def test_a_long_text_is_counted_whole():
    clip = open_clip.SimpleTokenizer()

    assert count_tokens(clip, "a photo of a cat") == 7  # five words, start, end
    assert count_tokens(clip, "cat " * 100) == 102  # open_clip's own call would cut it to 77

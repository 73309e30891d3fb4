"""A draw depends on its key and index alone."""

import numpy as np
import pytest
import torch

from models.random import permutation, stream_seed, uniform

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The published generator's output for a state, in Python's unbounded integers."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_draws_are_the_published_mix_of_key_row_and_column():
    # The first 64 bits of sha256('[7, "order"]'), little-endian.
    start = int.from_bytes(bytes.fromhex("153823f8fd82052e"), "little")
    row = splitmix64((start + splitmix64(5 * 0x9E3779B97F4A7C15 & MASK)) & MASK)
    word = splitmix64((row + 2 * 0x9E3779B97F4A7C15) & MASK)

    drawn = uniform((7, "order"), torch.tensor([5]), 2)

    assert drawn[0, 1].item() == (word >> 11) / 2**53


def test_the_draws_of_a_key_never_change():
    # A change here changes every job's result: raise METHOD_VERSION with it.
    drawn = uniform((0, "a"), torch.arange(2), 2)

    assert drawn.tolist() == [
        [0.8437510450556572, 0.4285275412896139],
        [0.45092666964838934, 0.31608344343551975],
    ]
    assert permutation((1,), 5).tolist() == [4, 2, 1, 0, 3]
    assert stream_seed((1,)) == 8885367406752367876


def test_a_draw_does_not_depend_on_what_else_is_drawn():
    many = uniform((1, "x"), torch.arange(100), 6)
    few = uniform((1, "x"), torch.tensor([41, 7]), 3)

    assert torch.equal(few, many[[41, 7], :3])


@pytest.mark.parametrize("other", [(1, "y"), (2, "x"), ("1", "x"), (1, "x", 0), ("1x",)])
def test_another_key_draws_other_numbers(other):
    indices = torch.arange(50)

    assert not torch.isin(uniform((1, "x"), indices, 4), uniform(other, indices, 4)).any()


def test_keys_that_join_alike_draw_apart():
    assert stream_seed(("ab", "c")) != stream_seed(("a", "bc"))


def test_draws_lie_in_the_half_open_unit_interval():
    drawn = uniform((3,), torch.arange(100_000), 1)

    assert drawn.dtype == torch.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1


def test_draws_are_uniform_in_every_bin_and_unrelated_between_columns():
    drawn = uniform((3, "uniform"), torch.arange(100_000), 2).numpy()
    bins = np.histogram(drawn[:, 0], bins=10, range=(0, 1))[0]

    assert abs(bins - 10_000).max() < 475  # five standard deviations of 95
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 5 / np.sqrt(100_000)


def test_neighbouring_indices_are_unrelated():
    drawn = uniform((3, "lag"), torch.arange(100_000), 1)[:, 0].numpy()

    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / np.sqrt(100_000)


def test_negative_and_large_indices_have_draws_of_their_own():
    drawn = uniform((0,), torch.tensor([-1, 0, 1, 2**62]), 1)

    assert len(set(drawn[:, 0].tolist())) == 4


def test_no_index_gives_no_rows():
    assert uniform((0,), torch.tensor([], dtype=torch.int64), 3).shape == (0, 3)


def test_a_permutation_holds_every_number_once():
    assert permutation((0, "order", 1), 1000).sort().values.tolist() == list(range(1000))
    assert permutation((0,), 0).tolist() == []


def test_epochs_are_permuted_apart():
    assert not torch.equal(permutation((0, "order", 1), 100), permutation((0, "order", 2), 100))


def test_every_place_of_a_permutation_gets_every_number_alike():
    counts = torch.zeros(4, 4)
    for seed in range(4000):
        counts[torch.arange(4), permutation((seed, "fair"), 4)] += 1

    assert (counts - 1000).abs().max() < 140  # five standard deviations of 27


def test_a_stream_seed_fits_63_bits():
    assert all(0 <= stream_seed((seed,)) < 2**63 for seed in range(100))

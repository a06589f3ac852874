"""The sample: every key has the same chance, whatever the number, and the error it gives is the error it has."""

from __future__ import annotations

import random
from statistics import pstdev

import pytest

from gaiaops.cache.survey import Sample


def sampled(sizes: list[int], most: int = 64) -> Sample:
    sample = Sample(most)
    for size in sizes:
        if sample.wants():
            sample.add(size, b"string")
    return sample


@pytest.mark.parametrize("keys", [1, 5, 63])
def test_few_keys_are_all_measured(keys: int) -> None:
    sizes = list(range(keys))
    assert sampled(sizes).estimate(keys) == (sum(sizes), 0)


@pytest.mark.parametrize("keys", [64, 65, 1_000, 12_345])
def test_the_sample_is_every_nth_key(keys: int) -> None:
    sample = sampled(list(range(keys)))
    assert list(sample.sizes) == list(range(0, keys, sample.stride))
    assert 32 <= len(sample.sizes) <= 64
    assert len(sample.kinds) == len(sample.sizes)


def test_the_error_is_what_it_says() -> None:
    """Of many estimates two thirds are within one standard error, and nearly all within three."""
    chance = random.Random(7)  # noqa: S311 - chance, no secret
    misses = []
    for _ in range(150):
        sizes = [chance.choice((50, 60, 400)) for _ in range(3_000)]
        memory, error = sampled(sizes, 128).estimate(len(sizes))
        assert memory is not None and error is not None and error > 0
        misses.append((memory - sum(sizes)) / error)
    assert 0.55 < sum(abs(miss) < 1 for miss in misses) / len(misses) < 0.8
    assert max(map(abs, misses)) < 4
    assert 0.8 < pstdev(misses) < 1.2


def test_nothing_is_known_of_keys_that_were_not_measured() -> None:
    assert Sample().estimate(0) == (0, 0)
    assert Sample().estimate(5) == (None, None)
    one = Sample()
    one.add(10, b"string")
    assert one.estimate(5) == (50, None)

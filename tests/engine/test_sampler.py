"""The stream of indices: passes, shares, and places to go on from."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.engine import SeededSampler, sampler
from jepa_t.errors import UserError


def take(size, count, seed=0, rank=0, world=1, skip=0):
    stream = SeededSampler(range(size), seed)
    stream.rank, stream.world_size = rank, world
    stream.skip(skip)
    return list(islice(stream, count))


@given(size=st.integers(1, 30), passes=st.integers(1, 4), seed=st.integers(0, 99))
def test_each_pass_holds_every_sample_once(size, passes, seed):
    stream = take(size, size * passes, seed)
    for start in range(0, len(stream), size):
        assert sorted(stream[start : start + size]) == list(range(size))


@given(size=st.integers(1, 30), world=st.integers(1, 4), skip=st.integers(0, 100))
def test_after_a_skip_any_number_of_processes_read_on_where_one_would(size, world, skip):
    shares = [take(size, 20, rank=rank, world=world, skip=skip) for rank in range(world)]
    dealt = [index for row in zip(*shares, strict=True) for index in row]
    assert dealt == take(size, skip + len(dealt))[skip:]


def test_seeds_and_passes_all_differ():
    orders = {tuple(take(20, 60, seed)[start : start + 20]) for seed in range(3) for start in (0, 20, 40)}
    assert len(orders) == 9


def test_no_samples_is_an_error():
    with pytest.raises(UserError, match="empty"):
        sampler.SeededSampler([])


@pytest.mark.parametrize("seed", [-1, 1.5, "", True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(UserError, match=r"SeededSampler\.seed is"):
        SeededSampler(range(3), seed)

"""Laws of the reveal schedules: every token once, at least one a step."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import generator, registered

from jepa_t.errors import UserError
from jepa_t.registry import REVEAL_ORDERS, REVEAL_SCHEDULES
from jepa_t.sampling import MaskedSampler, reveal_counts, reveal_order

orders = pytest.mark.parametrize("name", registered(REVEAL_ORDERS))
grids = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(st.integers(1, 300), st.integers(1, 400), st.sampled_from(registered(REVEAL_SCHEDULES)))
def test_each_step_draws_at_least_one_and_all_draw_everything(tokens, steps, schedule):
    counts = reveal_counts(tokens, steps, schedule)
    assert len(counts) == min(steps, tokens)
    assert min(counts) >= 1
    assert sum(counts) == tokens


@pytest.mark.parametrize(("tokens", "steps"), [(256, 64), (256, 32), (256, 8), (64, 64), (16, 16), (9, 9), (6, 3)])
def test_the_cosine_schedule_is_that_of_the_paper(tokens, steps):
    masked, expected = tokens, []
    for step in range(1, steps + 1):
        left = math.floor(round(tokens * math.cos(math.pi * step / (2 * steps)), 9)) if step < steps else 0
        left = min(left, masked - 1)
        expected.append(masked - left)
        masked = left
    assert reveal_counts(tokens, steps) == expected


def test_the_schedules_differ_as_they_say():
    cosine, arccos, linear = (reveal_counts(256, 16, name) for name in ("cosine", "arccos", "linear"))
    assert all(b >= a - 1 for a, b in itertools.pairwise(cosine))  # few at first, but for rounding
    assert cosine[-1] > 8 * cosine[0]
    assert arccos[0] > 4 * cosine[0]
    assert max(arccos[:-2]) < 2 * arccos[0] < arccos[-1]  # evenly, and most by the last step
    assert linear == [16] * 16
    paced = reveal_counts(256, 16, {"type": "paced", "structure": 0.25, "slow": 0.75})
    assert sum(paced[:12]) == 64
    assert max(paced[:12]) < 16
    assert paced[12:] == [48] * 4


@orders
@given(grid=grids, batch=st.integers(1, 3), seed=st.integers(0, 1000))
def test_every_order_is_a_permutation(name, grid, batch, seed):
    count = grid[0] * grid[1]
    order = reveal_order(name, torch.rand(batch, count, generator=generator(seed)), grid)
    assert torch.equal(order.sort(1).values, torch.arange(count).expand(batch, -1))


@orders
def test_an_order_depends_on_its_own_priorities_alone(name):
    priority = torch.rand(3, 12, generator=generator(0))
    together = reveal_order(name, priority, (3, 4))
    for row in range(3):
        assert torch.equal(reveal_order(name, priority[row : row + 1], (3, 4))[0], together[row])
    assert torch.equal(together[0], together[1]) == (name == "halton")


def test_the_random_order_is_uniform():
    order = reveal_order("random", torch.rand(4000, 4, generator=generator(0)), (2, 2))
    counts = torch.stack([torch.bincount(order[:, place], minlength=4) for place in range(4)])
    assert (counts / 1000 - 1).abs().max() < 0.12  # 4 standard errors


def test_the_halton_order_is_the_halton_sequence():
    order = reveal_order("halton", torch.zeros(1, 128), (8, 16))[0, :6].tolist()
    points = [(1 / 2, 1 / 3), (1 / 4, 2 / 3), (3 / 4, 1 / 9), (1 / 8, 4 / 9), (5 / 8, 7 / 9), (3 / 8, 2 / 9)]
    assert order == [int(8 * row) * 16 + int(16 * column) for row, column in points]


def test_points_on_the_edge_of_a_cell_belong_to_it():
    assert reveal_order("halton", torch.zeros(1, 72), (8, 9))[0, 4] == 5 * 9 + 7


def test_the_first_half_of_the_halton_order_leaves_no_gap():
    order = reveal_order("halton", torch.zeros(1, 256), (16, 16))[0, :64]
    quarters = torch.bincount(order // 64 * 4 + order % 16 // 4, minlength=16)
    assert quarters.tolist() == pytest.approx([4] * 16, abs=1.1)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 1000))
def test_the_checkerboard_shows_black_cells_first(height, width, seed):
    order = reveal_order("checkerboard", torch.rand(2, height * width, generator=generator(seed)), (height, width))
    white = (order // width + order % width) % 2
    assert torch.equal(white, white.sort(1).values)
    assert white.sum(1).tolist() == [height * width // 2] * 2


def test_a_wrong_name_or_number_is_told():
    with pytest.raises(UserError, match="did you mean 'cosine'"):
        reveal_counts(4, 2, "cosin")
    with pytest.raises(UserError, match="did you mean 'halton'"):
        reveal_order("haltom", torch.zeros(1, 4), (2, 2))
    with pytest.raises(UserError, match=r"sampler.steps is 0"):
        reveal_counts(4, 0)
    for options, says in (({"slow": 1.0}, "paced slow is 1; give less"), ({"structure": 2}, "paced structure is 2")):
        with pytest.raises(UserError, match=says):
            MaskedSampler(schedule={"type": "paced", **options})

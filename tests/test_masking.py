"""Laws of the index splits: nothing is lost, doubled or seen that is masked."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import generator, make_model

from jepa_t.errors import UserError
from jepa_t.masking import MaskRatio, draw_split, gather, masked_count, scatter, truncated_normal
from jepa_t.structures import Split

CPU = torch.device("cpu")
seeds = st.integers(0, 2**31)


def ratio_of(low=0.7, std=0.25, multiple=1):
    return MaskRatio.of({"low": low, "std": std, "multiple": multiple})


ratios = st.builds(ratio_of, low=st.floats(0, 1), std=st.floats(0.01, 10))


@given(st.floats(0, 1), st.floats(0.01, 10), st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2))
def test_the_ratio_lies_between_low_and_1_and_grows_with_the_quantile(low, std, quantiles):
    small, large = (truncated_normal(u, low, std) for u in sorted(quantiles))
    assert low <= small <= large + 1e-12
    assert large <= 1


@pytest.mark.parametrize(("low", "std"), [(0.7, 0.25), (0.3, 0.5), (0.0, 0.1), (0.1, 100.0), (1.0, 0.25)])
def test_the_mean_ratio_is_that_of_a_truncated_normal(low, std):
    a = (1 - low) / std
    expected = 1 - std * math.sqrt(2 / math.pi) * (1 - math.exp(-a * a / 2)) / math.erf(a / math.sqrt(2)) if a else 1
    mean = sum(truncated_normal((i + 0.5) / 4000, low, std) for i in range(4000)) / 4000
    assert mean == pytest.approx(expected, abs=1e-3)
    if (low, std) == (0.7, 0.25):
        assert mean == pytest.approx(0.867, abs=1e-3)  # D-JEPA's recipe


@given(st.integers(1, 1000), st.integers(0, 100))
@example(10, 70)  # 0.7 x 10 is 7.000000000000001
def test_the_masked_count_is_the_ceiling(tokens, percent):
    assert masked_count(tokens, percent / 100) == max(1, -(-percent * tokens // 100))


@given(st.integers(2, 300), st.floats(0, 1, exclude_max=True), st.sampled_from([1, 2, 4, 8]))
@example(15, 0.0, 8)  # 10 are visible, and 16 would be more than there are
def test_the_rounded_visible_count_keeps_its_mean(tokens, uniform, multiple):
    exact = tokens - masked_count(tokens, truncated_normal(uniform, 0.3, 0.5))
    ratio = ratio_of(0.3, 0.5, multiple)
    counts = [ratio.visible_count(tokens, uniform, (i + 0.5) / 64) for i in range(64)]
    most = (tokens - 1) // multiple * multiple
    assert all(count % multiple == 0 and count <= most and abs(count - exact) < multiple for count in counts)
    assert sum(counts) / 64 == pytest.approx(min(exact, most), abs=1e-9)


@given(seeds, st.integers(1, 5), st.integers(1, 40), ratios, st.sampled_from([1, 4]))
def test_a_split_is_a_partition_of_a_permutation(seed, batch, tokens, ratio, multiple):
    ratio = replace(ratio, multiple=multiple)
    split = draw_split(batch, tokens, ratio, CPU, generator(seed))
    assert torch.equal(split.order.sort(1).values, torch.arange(tokens).expand(batch, -1))
    assert torch.equal(torch.cat([split.visible, split.masked], 1), split.order)
    assert 1 <= split.masked.shape[1] <= tokens
    assert torch.equal(split.asked, split.masked)
    again = draw_split(batch, tokens, ratio, CPU, generator(seed))
    assert torch.equal(again.order, split.order)
    assert again.visible_count == split.visible_count


def test_a_multiple_that_is_no_less_than_an_image_is_told():
    with pytest.raises(UserError, match=r"mask_ratio\.multiple is 6, and an image has 6 tokens; give less"):
        make_model(mask_ratio={"multiple": 6})
    make_model(mask_ratio={"multiple": 5})


def test_the_visible_counts_of_many_draws_follow_the_ratio():
    ratio, random = ratio_of(0.3, 0.5), generator(0)
    counts = torch.tensor([draw_split(1, 16, ratio, CPU, random).visible_count for _ in range(2000)]).double()
    expected = torch.tensor([ratio.visible_count(16, (i + 0.5) / 2000, 0.0) for i in range(2000)]).double()
    assert abs(counts.mean() - expected.mean()) < 0.25  # 3.5 standard errors
    assert abs(counts.std() - expected.std()) < 0.25


def test_orders_are_uniform_and_differ_between_images():
    split = draw_split(5000, 4, MaskRatio(), CPU, generator(0))
    seen = Counter(map(tuple, split.order.tolist()))
    assert len(seen) == 24
    chi_square = sum((count - 5000 / 24) ** 2 for count in seen.values()) / (5000 / 24)
    assert 9.3 < chi_square < 49.7  # 23 degrees of freedom, 0.005 below and 0.001 above


@given(seeds, st.integers(1, 4), st.integers(2, 20), st.data())
def test_gather_then_scatter_restores(seed, batch, tokens, data):
    split = draw_split(batch, tokens, ratio_of(0.0, 1.0), CPU, generator(seed))
    x = torch.randn(batch, tokens, 3, generator=generator(seed))
    picked = gather(x, split.masked)
    for row in range(batch):
        assert torch.equal(picked[row], x[row][split.masked[row]])
    other = torch.zeros_like(x)
    written = scatter(other, split.masked, picked)
    assert not other.any()
    assert torch.equal(gather(written, split.masked), picked)
    assert not gather(written, split.visible).any()
    assert torch.equal(scatter(written, split.visible, gather(x, split.visible)), x)


def test_the_backward_of_gather_adds_up():
    x = torch.zeros(2, 3, 1, requires_grad=True)
    gather(x, torch.tensor([[0, 0, 2], [1, 1, 1]])).sum().backward()
    assert x.grad.squeeze(-1).tolist() == [[2, 0, 1], [0, 3, 0]]


@given(seeds, st.integers(2, 20), st.data())
def test_a_larger_cut_of_one_order_shows_all_that_a_smaller_one_does(seed, tokens, data):
    order = torch.rand(2, tokens, generator=generator(seed)).argsort(1)
    more = data.draw(st.integers(1, tokens - 1))
    fewer = data.draw(st.integers(0, more))
    small, large = (Split(order, visible, tokens - visible) for visible in (fewer, more))
    for row in range(2):
        assert set(small.visible[row].tolist()) <= set(large.visible[row].tolist())
        assert set(large.masked[row].tolist()) <= set(small.masked[row].tolist())


def test_a_repeated_split_lies_behind_itself():
    split = Split(torch.tensor([[2, 0, 1], [1, 2, 0]]), 1, 1)
    doubled = split.repeat(2)
    assert doubled.asked.tolist() == [[0], [2], [0], [2]]
    assert doubled.masked.tolist() == [[0, 1], [2, 0]] * 2


@pytest.mark.parametrize("options", [{"low": -0.1}, {"low": 1.1}, {"std": 0.0}, {"std": float("nan")}, {"multiple": 0}])
def test_a_ratio_out_of_range_is_refused(options):
    with pytest.raises(UserError, match=rf"{next(iter(options))} is {next(iter(options.values()))}"):
        MaskRatio.of(options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"type": "trunkated_normal"}, "unknown mask ratio 'trunkated_normal': did you mean 'truncated_normal'"),
        ({"lw": 0.3}, "unknown option of truncated_normal 'lw': did you mean 'low'"),
        ({"type": lambda quantile: 1.5 - quantile}, r"mask_ratio gives 1.5 at the quantile 0; it must lie between"),
    ],
)
def test_a_wrong_ratio_is_told(options, says):
    with pytest.raises(UserError, match=says):
        MaskRatio.of(options)

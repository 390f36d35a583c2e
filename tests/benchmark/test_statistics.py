import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.benchmark.statistics import interval, paired, steps_to


def binary(share, count, seed=0):
    outcomes = np.zeros(count)
    outcomes[: round(share * count)] = 1
    return np.random.default_rng(seed).permutation(outcomes)


@given(share=st.sampled_from([0.1, 0.3, 0.5, 0.9]), count=st.sampled_from([100, 400]))
def test_one_seed_has_the_binomial_interval(share, count):
    found = interval([binary(share, count)])
    half = 1.96 * (share * (1 - share) / count) ** 0.5
    assert found.mean == pytest.approx(share)
    assert found.low == pytest.approx(share - half, abs=0.15 * half + 0.5 / count)
    assert found.high == pytest.approx(share + half, abs=0.15 * half + 0.5 / count)


def test_the_spread_between_seeds_and_prompts_adds_up():
    shares, count = np.linspace(0.2, 0.8, 12), 50
    seeds = [binary(share, count, seed) for seed, share in enumerate(shares)]
    outcomes = np.stack(seeds)
    seed_part, prompt_part = outcomes.mean(1).var() / 12, outcomes.mean(0).var() / count
    rest = outcomes - outcomes.mean(1, keepdims=True) - outcomes.mean(0) + outcomes.mean()
    variance = seed_part + prompt_part + rest.var() / 12 / count
    found = interval(seeds)
    # Student's t of 11 degrees of freedom is 2.20 where a normal one is 1.96, and a sample's variance lacks 1 / 12
    variance += seed_part * (12 / 11 * (2.201 / 1.96) ** 2 - 1)
    assert found.high - found.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.05)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("prompts", [1, 200])
def test_intervals_of_few_seeds_hold_the_truth(seeds, prompts):
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        means = random.normal(0.5, 0.1, seeds)
        runs = [random.random(prompts) < mean for mean in means] if prompts > 1 else means[:, None]
        found = interval(runs)
        held += found.low <= 0.5 <= found.high
    assert 0.91 <= held / 200 <= 0.985


def test_an_interval_of_shares_stays_within_what_can_be():
    found = interval([binary(0.9, 100), binary(0.1, 100), binary(0.9, 100)])
    assert (found.low, found.high) == (0, 1)
    assert interval([binary(0.9, 100), -binary(0.2, 100)], signed=True).low == -1


def test_an_interval_of_distances_is_not_below_zero_and_of_their_differences_may_be():
    values = [np.array([value]) for value in (0.1, 0.1, 4.0)]
    assert interval(values).low == 0
    assert interval(values).high > 4
    assert interval(values, signed=True).low < -1


def test_as_many_seeds_as_prompts_are_drawn_apart():
    found = interval(list(np.eye(8)))  # right where seed and prompt have the same number
    assert found.low < found.mean < found.high  # drawn alike, they would meet too often: all draws above the mean


def test_seeds_that_fail_on_the_same_prompts_do_not_make_up_for_more_prompts():
    hard = binary(0.4, 100)
    one, many = interval([hard]), interval([hard] * 5)
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.02)


def test_single_numbers_are_resampled_by_seed():
    values = np.random.default_rng(0).normal(5, 2, 30)
    found = interval([np.array([value]) for value in values])
    assert found.high - found.low == pytest.approx(2 * 2.045 * values.std(ddof=1) / 30**0.5, rel=0.1)
    assert interval([values[:1]]).low == interval([values[:1]]).high == values[0]


def test_paired_differences_lose_what_the_arms_share():
    easy = {seed: binary(0.5, 200, seed) for seed in range(3)}
    hard = {seed: np.where(np.arange(200) < 10, 0, outcomes) for seed, outcomes in easy.items()}
    between = interval(paired(hard, easy), signed=True)
    apart = interval(list(hard.values())), interval(list(easy.values()))
    assert between.mean == pytest.approx(apart[0].mean - apart[1].mean)
    assert between.low < between.mean < between.high <= 0
    assert between.high - between.low < 0.6 * (apart[0].high - apart[0].low)


def test_outcomes_of_both_signs_have_the_multinomial_spread():
    difference = np.array([1] * 60 + [-1] * 30 + [0] * 110)
    found = interval([difference], signed=True)
    assert found.mean == pytest.approx(0.15)
    assert found.high - found.low == pytest.approx(2 * 1.96 * (difference.var() / 200) ** 0.5, rel=0.06)


def test_equal_arms_do_not_differ():
    same = {0: binary(0.3, 50), 1: binary(0.6, 50)}
    found = interval(paired(same, same), signed=True)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_only_common_seeds_are_paired():
    assert len(paired({0: np.ones(3), 1: np.ones(3)}, {1: np.zeros(3), 2: np.ones(3)})) == 1


def test_steps_to_a_threshold():
    curve = {100: 0.2, 200: 0.6, 300: 0.4, 400: 0.95}
    assert steps_to(curve, 0.5) == 200
    assert steps_to(curve, 0.9) == 400
    assert steps_to(curve, 0.99) is None

"""Laws of the denoising head: a map of each token by itself, fast or plain."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CHANNELS, WIDTH, float64, generator, randomise

from jepa_t.objectives import DenoisingHead, denoising_head
from jepa_t.objectives.denoising_head import ResidualBlock, modulations, sinusoids

seeds = st.integers(0, 1000)


def make(seed=0, outputs=CHANNELS, depth=2):
    return randomise(DenoisingHead(CHANNELS, outputs, WIDTH, 24, depth), seed)


def inputs(seed, *shape):
    random = generator(seed)
    x, condition = (torch.randn(*shape, width, generator=random) for width in (CHANNELS, WIDTH))
    return x, torch.rand(shape, generator=random), condition


@given(seeds, st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.999, 1.0]), min_size=1, max_size=5))
def test_the_fast_head_equals_the_plain_one(seed, times):
    head, (x, _, condition) = make(seed), inputs(seed, 2, 3)
    fast = head.at_times(condition, times)
    for time in times:
        plain = head(x, torch.full((2, 3), time), condition)
        torch.testing.assert_close(fast(x, time), plain, atol=1e-5, rtol=1e-5)


@given(seeds, st.floats(-2, 5), st.sampled_from([CHANNELS, 2 * CHANNELS]))
def test_guidance_acts_on_the_first_channels_and_leaves_the_others_to_the_text(seed, scale, outputs):
    head, (x, _, condition), (_, _, null) = make(outputs=outputs), inputs(seed, 2, 3), inputs(seed + 1, 2, 3)
    times = [0.2, 0.7]
    text, blind = head.at_times(condition, times), head.at_times(null, times)
    guided, plain = head.guided(condition, times, null, scale), head.guided(condition, times, None, scale)
    for time in times:
        with_text, without, found = text(x, time), blind(x, time), guided(x, time)
        expected = without + scale * (with_text - without)
        torch.testing.assert_close(found[..., :CHANNELS], expected[..., :CHANNELS], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[..., CHANNELS:], with_text[..., CHANNELS:], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain(x, time), with_text)


def test_the_fast_head_embeds_times_and_condition_once():
    head, (x, _, condition) = make(), inputs(0, 2, 3)
    calls = {"embed_time": 0, "embed_condition": 0, "embed": 0}
    for name in calls:
        getattr(head, name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    fast = head.at_times(condition, [i / 10 for i in range(10)])
    for i in range(10):
        fast(x, i / 10)
    assert calls == {"embed_time": 1, "embed_condition": 1, "embed": 10}


@given(seeds)
@float64()
def test_each_token_is_denoised_by_itself(seed):
    head, (x, time, condition) = make(seed), inputs(seed, 2, 3)
    whole = head(x, time, condition)
    for row in range(2):
        for place in range(3):
            alone = head(x[row, place], time[row, place], condition[row, place])
            torch.testing.assert_close(alone, whole[row, place])


@float64()
def test_value_time_and_condition_each_matter():
    head, (x, time, condition) = make(), inputs(0, 2, 3)
    before = head(x, time, condition)
    for changed in ((x + 0.1, time, condition), (x, time * 0.9, condition), (x, time, condition + 0.1)):
        assert ((head(*changed) - before).abs().amax(-1) > 1e-4).all()


def test_it_starts_with_an_output_of_zero_and_blocks_that_change_nothing():
    x, time, condition = inputs(0, 2, 3)
    assert not DenoisingHead(CHANNELS, 7, WIDTH, 24, 2)(x, time, condition).any()
    block = ResidualBlock(24)
    x = torch.randn(3, 24)
    assert torch.equal(block(x, *modulations(block.modulation, torch.randn(3, 24), 3)), x)


@float64()
def test_the_output_of_a_block_is_modulated_by_shift_scale_and_gate():
    block, x = randomise(ResidualBlock(8)), torch.randn(3, 8)
    shift, scale, gate = torch.randn(3, 3, 8)
    expected = x + gate * block.mlp(block.norm(x) * (1 + scale) + shift)
    torch.testing.assert_close(block(x, shift, 1 + scale, gate), expected)


@float64()
def test_a_product_for_each_modulation_is_one_product_cut_up():
    layer, c = randomise(torch.nn.Linear(8, 24)), torch.randn(2, 3, 8)
    shift, scale, gate = layer(c).chunk(3, -1)
    torch.testing.assert_close(modulations(layer, c, 3), [shift, 1 + scale, gate])


@pytest.mark.parametrize("times", [[0.0, 0.2, 0.2, 0.4, 0.4, 0.6], [0.9, 0.5, 0.1]])
@pytest.mark.parametrize("at_once", [0, 1, 2, 100])
def test_few_modulations_at_once_are_as_good_as_all(monkeypatch, times, at_once):
    """The solvers' order, each time asked twice by some; what is kept is not made twice, the condition never."""
    head, (x, _, condition), made, projected = make(), inputs(0, 2, 3), [], []
    expected = [head.at_times(condition, times)(x, time) for time in times]
    head.embed_condition.register_forward_hook(lambda *_: projected.append(1))
    monkeypatch.setattr(denoising_head, "MODULATIONS", at_once * (2 * 3 * 24 + 2 * 24) * 6)
    head.embed_time.register_forward_pre_hook(lambda _, args: made.append(len(args[0])))
    few = head.at_times(condition, times)
    for time, value in zip(times, expected, strict=True):
        torch.testing.assert_close(few(x, time), value)
    assert sum(made) == len(set(times) if at_once else times)
    assert max(made) == max(min(at_once, len(set(times))), 1)
    assert len(projected) == 1


@given(st.floats(0, 1, width=32))
def test_time_in_0_to_1_is_spread_over_sinusoids_made_for_0_to_1000(time):
    """At the raw flow time, as in the public code, almost all of these sinusoids would stand still."""
    expected = [1000 * time * 10000 ** (-i / 128) for i in range(128)]
    expected = [math.cos(a) for a in expected] + [math.sin(a) for a in expected]
    torch.testing.assert_close(sinusoids(torch.tensor(time)), torch.tensor(expected), atol=1e-3, rtol=0)


def test_half_precision_does_not_round_the_times():
    head, condition, seen = make(), inputs(0, 2, 3)[2].bfloat16(), []
    head.embed_time.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.autocast("cpu", torch.bfloat16):
        head.at_times(condition, [0.998, 0.999, 1.0])(torch.zeros(2, 3, CHANNELS), 0.998)
    assert torch.pdist(seen[0].float().view(3, 256)).min() > 1.0

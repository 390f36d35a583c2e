"""The sampler against a plain loop, and the laws of what it draws."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CAPTIONS,
    CHANNELS,
    GENERATIVE,
    GRID,
    TOKENS,
    float64,
    random_text,
    rows,
    shared_model,
)
from watched import Watched, denoiser, model_by, network, sample

from jepa_t.masking import gather
from jepa_t.sampling import PRESETS
from jepa_t.structures import Split

generative = pytest.mark.parametrize("objective", GENERATIVE)
seeds = st.integers(0, 2**40)


@torch.no_grad()
def plain_loop(model, text, batch_seeds, steps, solver_steps, scale, linear):
    """The paper's sampling, token by token and Euler step by Euler step (JEPA-T; MAR, section 3.4)."""
    flow = model.network.generative
    images = []
    for row, seed in enumerate(batch_seeds):
        random = torch.Generator().manual_seed(seed)
        order = torch.rand(TOKENS, generator=random).argsort()[None]
        own, tokens, masked = rows(text, slice(row, row + 1)), torch.zeros(1, TOKENS, CHANNELS), TOKENS
        for step in range(1, steps + 1):
            left = math.floor(TOKENS * math.cos(math.pi * step / (2 * steps)) + 1e-9)
            left = 0 if step == steps else max(min(left, masked - 1), steps - step)
            asked = masked - left
            split = Split(order, TOKENS - masked, asked)
            with_text = model.condition(tokens, split, own).condition
            without = model.condition(tokens, split, model.null(1)).condition
            w = 1 + (scale - 1) * ((TOKENS - left) / TOKENS if linear else 1)
            x = torch.randn(asked, CHANNELS, generator=random)[None]
            for k in range(solver_steps):
                time = torch.full((1, asked), k / solver_steps)
                v_text, v_null = flow.head(x, time, with_text), flow.head(x, time, without)
                x = x + (v_null + w * (v_text - v_null)) / solver_steps
            for k in range(asked):
                tokens[0, order[0, TOKENS - masked + k]] = x[0, k]
            masked = left
        images.append(tokens)
    return torch.cat(images)


@pytest.mark.parametrize("fusion", ["jepa_t", "early", "late"])
@pytest.mark.parametrize(
    ("steps", "scale", "linear"), [(3, 1.0, False), (3, 2.5, True), (6, 3.0, False), (1, 0.0, False)]
)
@float64()
def test_it_is_the_plain_loop(fusion, steps, scale, linear):
    """What is sampled is the path that the loss trains, fusion included."""
    model, text = network(fusion, torch.float64), random_text(2)
    expected = plain_loop(model, text, (5, 6), steps, 4, scale, linear)
    found = sample(
        model,
        text,
        (5, 6),
        steps=steps,
        draw={"solver_steps": 4},
        guidance_scale=scale,
        guidance_schedule="linear" if linear else "constant",
    )
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


# What it draws


@given(
    st.integers(1, 9),
    st.sampled_from(["cosine", "arccos", "linear"]),
    st.sampled_from(["random", "halton", "checkerboard"]),
)
def test_each_position_is_written_once_and_never_again(steps, schedule, order):
    watched = Watched(network())
    final = sample(watched, steps=steps, schedule=schedule, order=order, draw={"solver_steps": 1}, guidance_scale=1.0)
    asked = torch.cat([split.asked for split in watched.splits], 1)
    assert torch.equal(asked.sort(1).values, torch.arange(TOKENS).expand(3, -1))
    assert len(watched.splits) == min(steps, TOKENS)
    for split, tokens in zip(watched.splits, watched.tokens, strict=True):
        for row in range(3):
            assert torch.equal(tokens[row, split.visible[row]], final[row, split.visible[row]])
            assert not tokens[row, split.masked[row]].any()


def test_what_is_not_drawn_yet_is_never_read():
    assert torch.equal(sample(Watched(network(), poison=float("nan"))), sample())


@given(seed=seeds)
def test_the_same_seed_gives_the_same_image_and_another_seed_another(seed):
    text = random_text(1)
    once = sample(text=text, batch_seeds=[seed])
    torch.manual_seed(seed % 7)  # the global state plays no part
    assert torch.equal(sample(text=text, batch_seeds=[seed]), once)
    assert not torch.allclose(sample(text=text, batch_seeds=[seed + 1]), once)


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("fusion", ["jepa_t", "early", "none"])
def test_an_image_does_not_depend_on_its_batch(preset, fusion):
    options = {} if preset is None else PRESETS[preset] | {"draw": {"solver_steps": 5}}
    model, text, numbers = network(fusion), random_text(3), [4, 5, 6]
    together = sample(model, text, numbers, **options)
    close = 1e-5 * together.abs().max().item()
    for row in (0, 2):
        alone = sample(model, rows(text, slice(row, row + 1)), numbers[row : row + 1], **options)
        torch.testing.assert_close(alone[0], together[row], atol=close, rtol=0)
    turned = sample(model, rows(text, torch.tensor([2, 0, 1])), [6, 4, 5], **options)
    torch.testing.assert_close(turned, together[[2, 0, 1]], atol=close, rtol=0)


def test_the_head_runs_on_the_asked_tokens_only():
    """In the public code the head ran on visible tokens too and threw the result away."""
    watched = Watched(network())
    sample(watched)
    assert [count for count, *_ in watched.draws] == [split.asked_count for split in watched.splits]
    assert sum(count for count, *_ in watched.draws) == TOKENS


@generative
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "steps": 4}], ids=str)
def test_under_every_objective_an_image_depends_on_caption_and_seed_alone(objective, options):
    model, text, numbers = denoiser(model_by(objective)), random_text(3), [4, 5, 6]
    together = sample(model, text, numbers, **options)
    for row in range(3):
        alone = sample(model, rows(text, slice(row, row + 1)), numbers[row : row + 1], **options)
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(sample(model, text, [7, 8, 9], **options), together)
    assert not torch.allclose(sample(model, random_text(3, seed=1), numbers, **options), together)


@generative
def test_over_discrete_tokens_the_context_is_codes_as_in_training(objective):
    """Whatever an objective draws: the network has never seen another vector among the visible."""
    model = model_by(objective)
    watched, tokenizer = Watched(denoiser(copy.deepcopy(model))), model.image_tokenizer
    drawn = sample(watched)
    seen = [gather(tokens, split.visible) for tokens, split in zip(watched.tokens, watched.splits, strict=True)]
    assert max(tokens.shape[1] for tokens in seen) > 1
    for tokens in [*seen, drawn]:
        assert torch.equal(tokenizer.embed(tokenizer.snap(tokens)), tokens)


# Guidance


def test_without_guidance_the_null_branch_is_never_evaluated():
    watched = Watched(network())
    sample(watched, guidance_scale=1.0)
    assert watched.evaluated == 3 * 3  # images x steps
    assert [(guided, scale) for _, _, guided, scale in watched.draws] == [(False, 1.0)] * 3
    watched = Watched(network())
    sample(watched, guidance_scale=2.0)
    assert watched.evaluated == 2 * 3 * 3
    assert [(guided, scale) for _, _, guided, scale in watched.draws] == [(True, 2.0)] * 3


@pytest.mark.parametrize(
    ("interval", "guided"),
    [((0.0, 1.0), [0, 1, 2]), ((0.0, 0.0), [0]), ((0.1, 0.4), [1]), ((0.4, 1.0), [2]), ((0.1, 1.0), [1, 2])],
)
def test_outside_the_interval_the_null_branch_is_never_evaluated(interval, guided):
    watched = Watched(network())
    sample(watched, guidance_scale=2.0, guidance_interval=interval)  # before the steps 0, 1/6 and 1/2 are drawn
    assert [step for step, draw in enumerate(watched.draws) if draw[2]] == guided
    assert watched.evaluated == 3 * (3 + len(guided))


@float64()
def test_guidance_of_0_ignores_the_text_and_equal_branches_make_any_scale_the_same():
    model, text = network(dtype=torch.float64), random_text(2)
    null = model.null(2)
    blind = sample(model, null, (0, 1), guidance_scale=1.0)
    torch.testing.assert_close(sample(model, text, (0, 1), guidance_scale=0.0), blind)
    torch.testing.assert_close(sample(model, null, (0, 1), guidance_scale=4.0), blind)
    assert not torch.allclose(sample(model, text, (0, 1), guidance_scale=1.0), blind)


# With the model around it


def test_the_text_is_encoded_once_for_all_steps(monkeypatch):
    """In the public code the text encoder ran at every sampling step."""
    model, calls = shared_model(), []
    tokenizer = type(model.ema.text_tokenizer)
    encode = tokenizer._encode
    monkeypatch.setattr(tokenizer, "_encode", lambda self, ids: calls.append(len(ids)) or encode(self, ids))
    model.generate(CAPTIONS[:4], [0, 1, 2, 3])
    assert sorted(calls) == [1, 4]  # the null text and the captions


def test_images_are_decoded_and_stay_in_range():
    model = shared_model()
    images = model.generate(CAPTIONS[:3], [0, 1, 2])
    tokens = sample(denoiser(model), model.ema.text_tokenizer(CAPTIONS[:3]), (0, 1, 2))
    assert images.shape == (3, 3, GRID[0] * 2, GRID[1] * 2)
    assert torch.equal(images, model.image_tokenizer.decode(tokens).clamp(-1, 1))
    assert images.abs().max() == 1.0  # something was clamped, so the clamp is tested

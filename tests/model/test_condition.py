"""What the condition reads, and what it doesn't."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CHANNELS,
    LENGTH,
    REGISTERS,
    TOKENS,
    WIDTH,
    float64,
    make_model,
    random_split,
    random_text,
    random_tokens,
    rows,
    shared_model,
)

from jepa_t import masking
from jepa_t.errors import UserError
from jepa_t.fusion import PRESETS, SITES
from jepa_t.structures import Split, Text

presets = pytest.mark.parametrize("fusion", PRESETS)
seeds = st.integers(0, 1000)
visible_counts = st.integers(0, TOKENS - 1)


def network(fusion="jepa_t"):
    return shared_model(fusion, torch.float64).network


@presets
@given(seed=seeds, visible=visible_counts)
@float64()
def test_masked_tokens_never_change_the_condition_and_visible_ones_do(fusion, seed, visible):
    model, split, tokens, text = (
        network(fusion),
        random_split(2, visible, seed=seed),
        random_tokens(2),
        random_text(2),
    )
    before = model.condition(tokens, split, text)
    poisoned = masking.scatter(tokens, split.masked, torch.full((2, TOKENS - visible, CHANNELS), float("nan")))
    after = model.condition(poisoned, split, text)
    assert torch.equal(after.condition, before.condition)
    assert torch.equal(after.features, before.features)
    assert before.condition.shape == before.features.shape == (2, TOKENS - visible, WIDTH)
    for place in range(visible):
        changed = masking.scatter(tokens, split.visible[:, place : place + 1], torch.ones(2, 1, CHANNELS))
        moved = (model.condition(changed, split, text).condition - before.condition).abs().amax(-1)
        assert moved.min() > 1e-9


@pytest.mark.parametrize("fusion", [*PRESETS, *({site: {"type": "FiLM"}} for site in SITES)], ids=str)
@float64()
def test_two_captions_of_an_image_share_what_comes_before_the_text(fusion):
    """The guidance's branches: as if each were alone, at the cost of one until the first fusion."""
    model, tokens, split = make_model(fusion=fusion).ema, random_tokens(2), random_split(2, 3)
    text, other, encoded = random_text(2), random_text(2, seed=1), []
    alone = [model.condition(tokens, split, one) for one in (text, other)]
    model.encoder.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    both = model.condition(tokens, split, text + other, branches=2)
    with pytest.raises(UserError, match="2 images and 4 captions; give 1 for each image"):
        model.condition(tokens, split, text + other)
    for field in ("features", "condition"):
        parts = [getattr(prediction, field) for prediction in alone]
        torch.testing.assert_close(getattr(both, field), torch.cat(parts))
    assert encoded == [4 if {"encoder", "context"} & model.fusion.keys() else 2]


@presets
@float64()
def test_an_image_does_not_depend_on_its_batch(fusion):
    model, split, tokens, text = network(fusion), random_split(4, 2), random_tokens(4), random_text(4)
    together = model.condition(tokens, split, text).condition
    for row in range(4):
        one = slice(row, row + 1)
        alone = model.condition(tokens[one], Split(split.order[one], 2, split.asked_count), rows(text, one))
        torch.testing.assert_close(alone.condition, together[one])


@presets
@given(seed=seeds, more=st.integers(1, 3))
@float64()
def test_the_padding_of_the_text_never_matters(fusion, seed, more):
    if fusion == "early" and LENGTH + more > REGISTERS:
        more = 0
    text = random_text(2, seed)
    tokens = text.tokens.masked_fill(~text.valid[..., None], 7.0)
    other = Text(
        torch.cat([tokens, torch.randn(2, more, tokens.shape[-1])], 1),
        torch.nn.functional.pad(text.valid, (0, more)),
        text.pooled,
    )
    one, two = (network(fusion).condition(random_tokens(2), random_split(2, 2), t).condition for t in (text, other))
    torch.testing.assert_close(one, two)


@given(visible=visible_counts, data=st.data())
@float64()
def test_asking_for_some_gives_the_same_as_asking_for_all(visible, data):
    asked = data.draw(st.integers(1, TOKENS - visible))
    split = random_split(2, visible)
    everything = network().condition(random_tokens(2), split, random_text(2))
    some = network().condition(random_tokens(2), Split(split.order, visible, asked), random_text(2))
    torch.testing.assert_close(some.condition, everything.condition[:, :asked])

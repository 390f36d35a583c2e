"""Laws of cross-entropy over codes: its closed form, and how codes are chosen."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    WIDTH,
    CodedPatches,
    float64,
    generator,
    make_model,
    make_objective,
    random_images,
    seeded,
    with_objective,
)

from jepa_t.errors import UserError
from jepa_t.objectives import choose
from jepa_t.structures import Prediction, Target

seeds = st.integers(0, 1000)
CODES = 9


def make(**options):
    return make_objective("TokenCrossEntropy", **options)


def inputs(batch=3, asked=4, seed=0):
    condition = torch.randn(batch, asked, WIDTH, generator=generator(seed))
    ids = torch.randint(CODES, (batch, asked), generator=generator(seed + 1))
    return condition, ids, Prediction(condition, condition), Target(CodedPatches().embed(ids), ids=ids)


# The loss


@given(seeds, st.floats(0, 0.9))
@float64()
def test_the_loss_is_the_closed_form_with_smoothing(seed, smoothing):
    objective, (condition, ids, prediction, target) = make(label_smoothing=smoothing), inputs(seed=seed)
    chances = objective.head(condition).softmax(-1)
    total = 0.0
    for row in range(3):
        for place in range(4):
            wanted = torch.full((CODES,), smoothing / CODES)
            wanted[ids[row, place]] += 1 - smoothing
            total = total - (wanted * chances[row, place].log()).sum()
    torch.testing.assert_close(objective(prediction, target)["loss_token"], (total / 12).float())


# Drawing


@given(seeds, st.floats(0.2, 4))
def test_codes_are_chosen_as_often_as_their_chances_say(seed, temperature):
    logits = torch.randn(CODES, generator=generator(seed))
    uniform = (torch.arange(20000) + 0.5) / 20000  # evenly, so that the shares are exact
    found = torch.bincount(choose(logits.expand(20000, -1), uniform, temperature), minlength=CODES) / 20000
    torch.testing.assert_close(found, (logits / temperature).softmax(-1), atol=2e-4, rtol=0)


@given(seeds, st.integers(1, CODES + 2))
def test_top_k_chooses_among_the_likeliest_by_their_chances(seed, top_k):
    logits = torch.randn(CODES, generator=generator(seed))
    uniform = (torch.arange(20000) + 0.5) / 20000
    found = torch.bincount(choose(logits.expand(20000, -1), uniform, 1.0, top_k), minlength=CODES) / 20000
    order = logits.argsort(descending=True)
    expected = torch.zeros(CODES).scatter(0, order[:top_k], logits[order[:top_k]].softmax(-1))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_a_code_without_a_chance_is_never_chosen(uniform):
    """Not even where rounding puts the draw on an edge."""
    for seed in range(300):
        logits = 3 * torch.randn(1, 50, generator=generator(seed))
        logits[0, [0, 7, 49]] = -torch.inf
        index = choose(logits, torch.tensor([uniform]))
        assert 0 <= index < 50
        assert logits[0, index].isfinite()


@pytest.mark.parametrize("temperature", [1e-8, 1e-40, 1e-60])
def test_a_temperature_next_to_0_takes_the_likeliest(temperature):
    logits = torch.randn(50, CODES, generator=generator(0))
    found = choose(logits, torch.rand(50, generator=generator(1)), temperature)
    assert torch.equal(found, logits.argmax(-1))


@given(seeds)
def test_top_1_and_temperature_0_take_the_likeliest(seed):
    objective, (condition, *_) = make(), inputs(seed=seed)
    best = objective.head(condition).argmax(-1)
    assert torch.equal(objective.draw(condition, seeded(3, seed), top_k=1).ids, best)
    assert torch.equal(objective.draw(condition, seeded(3, seed), temperature=0.0).ids, best)


@given(seeds, st.floats(0, 5))
@float64()
def test_guidance_is_the_line_through_both_logits(seed, scale):
    objective, (condition, *_), null = make(), inputs(seed=seed), inputs(seed=seed + 5)[0]
    logits = objective.head(null) + scale * (objective.head(condition) - objective.head(null))
    drawn = objective.draw(condition, seeded(3), null, scale, temperature=0.7, top_k=3)
    ids = choose(logits, seeded(3).uniform(4), 0.7, 3)
    assert torch.equal(drawn.ids, ids)
    chance = logits.softmax(-1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(drawn.confidence.exp(), chance.float())


# In a model


def test_a_continuous_tokenizer_is_refused():
    with pytest.raises(UserError, match="the image tokenizer is continuous, or groups codes"):
        make_model(objectives={"own": {"type": "TokenCrossEntropy"}})


@pytest.mark.parametrize("autocast", [False, True])
def test_it_learns_the_codes_of_the_tokens(autocast):
    """Found in full precision, whatever the network computes in."""
    model, seen = make_model(**with_objective("TokenCrossEntropy")), []
    model.network.objectives["own"].register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model.loss(random_images(4), ["red"] * 4)
    assert torch.equal(CodedPatches().embed(seen[0].ids), seen[0].tokens)


def test_a_copy_of_a_model_goes_on_with_its_own_tokenizer():
    model = make_model(**with_objective("TokenCrossEntropy"))
    other = copy.deepcopy(model)
    drawn = model.generate(["red"], [0])
    other.image_tokenizer.codes.zero_()
    assert torch.equal(model.generate(["red"], [0]), drawn)
    assert not torch.equal(other.generate(["red"], [0]), drawn)
    assert [name for name in model.state_dict() if name.endswith("codes")] == ["image_tokenizer.codes"]

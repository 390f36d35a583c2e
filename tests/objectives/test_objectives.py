"""The contract of the objectives, over every registered one."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CHANNELS,
    GENERATIVE,
    CodedPatches,
    float64,
    generator,
    gradients,
    make_objective,
    objective_inputs,
    objective_loss,
    options_of,
    registered,
    seeded,
)

from jepa_t.errors import UserError
from jepa_t.registry import OBJECTIVES

NAMES = registered(OBJECTIVES)
every = pytest.mark.parametrize("name", NAMES)
generative = pytest.mark.parametrize("name", GENERATIVE)
seeds = st.integers(0, 1000)


# Every one


@every
@given(seed=seeds)
def test_the_losses_are_named_finite_scalars_and_never_negative(name, seed):
    losses = make_objective(name)(*objective_inputs(seed), generator(seed))
    assert losses
    for key, loss in losses.items():
        assert key.startswith("loss_")
        assert loss.shape == ()
        assert loss.isfinite()
        assert loss >= 0


@every
def test_gradient_reaches_every_parameter_and_the_prediction_but_not_the_target(name):
    objective, (prediction, target) = make_objective(name), objective_inputs()
    prediction.features.requires_grad_()
    prediction.condition.requires_grad_()
    objective_loss(objective, prediction, target).backward()
    found = gradients(objective)
    assert min(found.values()) > 1e-7, found
    assert prediction.condition.grad.abs().amax(-1).min() > 0
    assert target.tokens.grad is None
    assert target.features.grad is None


@every
def test_it_says_what_it_reads_of_a_target_and_does_without_the_rest(name):
    objective, (prediction, target) = make_objective(name), objective_inputs()
    before = objective_loss(objective, prediction, target)
    assert objective.reads <= {"features", "ids", "null"}
    for field in ("features", "ids", "null"):
        if field in objective.reads:
            other = replace(target, **{field: getattr(target, field).roll(1, 0)})
            assert not torch.equal(objective_loss(objective, prediction, other), before)
        else:
            assert torch.equal(objective_loss(objective, prediction, replace(target, **{field: None})), before)


@every
def test_the_generator_is_the_only_source_of_randomness(name):
    objective, data = make_objective(name), objective_inputs()
    assert torch.equal(objective_loss(objective, *data, seed=1), objective_loss(objective, *data, seed=1))
    default = objective(*data)
    assert default.keys() == objective(*data, generator(0)).keys()


@every
def test_a_weight_multiplies_the_loss_and_0_stops_its_gradient(name):
    data = objective_inputs()
    plain = objective_loss(make_objective(name), *data)
    torch.testing.assert_close(objective_loss(make_objective(name, weight=2.5), *data), 2.5 * plain)
    silent = make_objective(name, weight=0.0)
    objective_loss(silent, *data).backward()
    assert max(gradients(silent).values()) == 0


@every
def test_the_loss_is_finite_in_bfloat16(name):
    objective, data = make_objective(name), objective_inputs()
    plain = objective_loss(objective, *data)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective_loss(objective, *data)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=0.05, atol=0.05)


FLOW = {"head_width": 20, "head_depth": 1, "draws": 3, "weight": 2.0, "time_scale": 1.0}
FLOW |= {"predicts": "clean", "logit_normal": (-0.8, 0.8), "learns_guidance": True}
CHANGES = {
    "FlowMatching": FLOW,
    "MeanFlow": FLOW | {"stretches": 2, "adaptive": 0.5},
    "GaussianDiffusion": {"head_width": 20, "head_depth": 1, "draws": 3, "weight": 2.0},
    "TokenCrossEntropy": {"label_smoothing": 0.3, "weight": 2.0},
    "FeaturePrediction": {"weight": 2.0, "beta": 0.5, "read": "features", "hidden_width": 20, "activation_first": True},
}


@every
def test_each_option_changes_the_loss(name):
    offered = {"width", "channels", "tokens", "codebook_size"}
    assert options_of(OBJECTIVES.get(name)) - offered == set(CHANGES[name])
    data = objective_inputs()
    before = objective_loss(make_objective(name), *data)
    for option, value in CHANGES[name].items():
        assert not torch.allclose(objective_loss(make_objective(name, **{option: value}), *data), before), option


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("FlowMatching", {"draws": 0}, "FlowMatching draws is 0; it must be a whole number of at least 1"),
        ("FlowMatching", {"draws": 2.5}, "FlowMatching draws is 2.5"),
        ("FlowMatching", {"head_width": 0}, "head_width is 0; it must be a whole number of at least 1"),
        ("FlowMatching", {"head_depth": -1}, "head_depth is -1; it must be a whole number of at least 0"),
        ("FlowMatching", {"weight": -1}, "FlowMatching weight is -1; it must be a number of at least 0"),
        ("FlowMatching", {"draw": 2}, "did you mean 'draws'"),
        ("FlowMatching", {"predicts": "noise"}, "unknown FlowMatching predicts 'noise'"),
        ("FlowMatching", {"logit_normal": (0.0, 0.0)}, "logit_normal is .*give a mean and a deviation above 0"),
        ("MeanFlow", {"stretches": -1}, "MeanFlow stretches is -1"),
        ("MeanFlow", {"stretches": 3}, "MeanFlow stretches is 3; there are only 2 draws"),
        ("MeanFlow", {"adaptive": -0.5}, "MeanFlow adaptive is -0.5; it must lie between 0 and 1"),
        ("GaussianDiffusion", {"draws": 0}, "GaussianDiffusion draws is 0"),
        ("GaussianDiffusion", {"weight": float("nan")}, "GaussianDiffusion weight is nan"),
        ("TokenCrossEntropy", {"weight": "1"}, "TokenCrossEntropy weight is '1'"),
        ("FeaturePrediction", {"weight": -0.5}, "FeaturePrediction weight is -0.5"),
        ("TokenCrossEntropy", {"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ("TokenCrossEntropy", {"codebook_size": None}, "the image tokenizer is continuous, or groups codes"),
        ("FeaturePrediction", {"read": "conditon"}, "did you mean 'condition'"),
        ("FeaturePrediction", {"beta": 0.0}, "beta=0.0; it must be above 0"),
    ],
)
def test_a_wrong_option_is_told(name, options, says):
    with pytest.raises(UserError, match=says):
        make_objective(name, **options)


# Generative ones


# For each option that an objective's `draw` reads, a value that draws something else.
DRAWS = {
    "FlowMatching": {"temperature": 0.5, "solver": "heun", "solver_steps": 2},
    "GaussianDiffusion": {"temperature": 0.5, "solver_steps": 2, "eta": 0.5},
    "MeanFlow": {"temperature": 0.5, "solver_steps": 2},
    "TokenCrossEntropy": {"temperature": 30.0, "top_k": 1},
}
FEW = {name: {"solver_steps": 3} for name in ("FlowMatching", "MeanFlow", "GaussianDiffusion")} | {
    "TokenCrossEntropy": {}
}


def draw(objective, condition, seed=0, **options):
    options = FEW[type(objective).__name__] | options
    with torch.no_grad():
        return tokens_of(objective.draw(condition, seeded(len(condition), seed), **options))


def tokens_of(drawn):
    return CodedPatches().embed(drawn.ids) if drawn.tokens is None else drawn.tokens


@generative
def test_drawing_gives_tokens_that_depend_on_condition_randomness_and_every_option(name):
    objective = make_objective(name)
    condition = objective_inputs(batch=8)[0].condition
    drawn = draw(objective, condition)
    assert drawn.shape == (8, 4, CHANNELS)
    assert drawn.isfinite().all()
    assert torch.equal(draw(objective, condition), drawn)
    assert not torch.allclose(draw(objective, condition + 1), drawn)
    assert not torch.allclose(draw(objective, condition, seed=50), drawn)
    for progress, steps in ((0.0, 4), (1.0, 2)) if "solver_steps" in FEW[name] else ():
        annealed = draw(objective, condition, solver_steps=(4, 2), progress=progress)
        assert torch.equal(annealed, draw(objective, condition, solver_steps=steps))
    assert options_of(objective.draw) - {"condition", "random", "null", "guidance_scale", "progress"} == set(
        DRAWS[name]
    )
    for option, value in DRAWS[name].items():
        assert not torch.allclose(draw(objective, condition, **{option: value}), drawn), option


@generative
@given(seed=seeds, scale=st.floats(-2, 5))
def test_guidance_of_1_is_none_of_0_ignores_the_text_and_equal_branches_make_it_idle(name, seed, scale):
    objective, condition, null = (
        make_objective(name),
        objective_inputs(seed)[0].condition,
        objective_inputs(seed + 1)[0].condition,
    )
    close = {"atol": 1e-4, "rtol": 1e-4}
    plain = draw(objective, condition)
    torch.testing.assert_close(draw(objective, condition, null=null, guidance_scale=1.0), plain, **close)
    torch.testing.assert_close(draw(objective, condition, null=condition, guidance_scale=scale), plain, **close)
    if name != "GaussianDiffusion":  # whose variance stays the text's
        blind = draw(objective, null)
        torch.testing.assert_close(draw(objective, condition, null=null, guidance_scale=0.0), blind, **close)


@pytest.mark.parametrize(
    ("name", "one"),
    [(name, {"solver_steps": 1}) for name in ("FlowMatching", "MeanFlow", "GaussianDiffusion")],
)
@given(seed=seeds, scale=st.floats(-2, 5))
@float64()
def test_guidance_is_the_line_through_both_branches(name, one, seed, scale):
    objective, condition, null = (
        make_objective(name),
        objective_inputs(seed)[0].condition,
        objective_inputs(seed + 1)[0].condition,
    )
    text, blind = draw(objective, condition, **one), draw(objective, null, **one)  # a single step is affine
    guided = draw(objective, condition, null=null, guidance_scale=scale, **one)
    torch.testing.assert_close(guided, blind + scale * (text - blind))


class Dealt:
    """Randomness that is given: the same numbers for whichever images and tokens are drawn."""

    def __init__(self, rows=slice(None), places=slice(None), batch=3, asked=4):
        self.random, self.rows, self.places, self.asked = seeded(batch), rows, places, asked

    def normal(self, *shape):
        return self.random.normal(*shape[:-2], self.asked, shape[-1])[self.rows][..., self.places, :]

    def uniform(self, *shape):
        return self.random.uniform(*shape[:-1], self.asked)[self.rows][..., self.places]


@generative
@float64()
def test_a_token_is_drawn_by_itself(name):
    objective, options = make_objective(name), FEW[name] | {"guidance_scale": 3.0}
    condition, null = objective_inputs()[0].condition, objective_inputs(1)[0].condition
    whole = objective.draw(condition, Dealt(), null, **options)
    for row, place in itertools.product(range(3), range(4)):
        one = slice(row, row + 1), slice(place, place + 1)
        alone = objective.draw(condition[one], Dealt(*one), null[one], **options)
        torch.testing.assert_close(tokens_of(alone), tokens_of(whole)[one])


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in GENERATIVE), ("GaussianDiffusion", {"eta": 0.7})], ids=str
)
def test_a_temperature_of_0_leaves_only_the_start_to_chance(name, options):
    """Flow matching and DDIM start from nothing, cross-entropy from the likeliest, ancestral steps from noise."""
    objective, condition = make_objective(name), objective_inputs()[0].condition
    one, other = (draw(objective, condition, seed, temperature=0.0, **options) for seed in (0, 9))
    assert torch.equal(one, other) == (name != "GaussianDiffusion" or bool(options))


@generative
def test_drawing_is_finite_in_bfloat16(name):
    objective, condition = make_objective(name), objective_inputs()[0].condition
    with torch.autocast("cpu", torch.bfloat16):
        drawn = draw(objective, condition.bfloat16(), null=condition.bfloat16() + 1, guidance_scale=2.0)
    assert drawn.dtype == torch.float32
    assert drawn.isfinite().all()


@generative
def test_confidence_is_given_where_it_is_promised(name):
    objective, condition = make_objective(name), objective_inputs()[0].condition
    confidence = objective.draw(condition, seeded(3), **FEW[name]).confidence
    if not objective.gives_confidence:
        assert confidence is None
        return
    assert confidence.shape == (3, 4)
    assert confidence.max() <= 0

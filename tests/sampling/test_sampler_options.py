"""Options and presets of the sampler: each acts, or is refused."""

import dataclasses
import math

import pytest
import torch
from tiny import (
    GENERATIVE,
    make_model,
    with_objective,
)
from watched import Watched, denoiser, model_by, network, sample

from jepa_t.errors import UserError
from jepa_t.sampling import PRESETS, MaskedSampler, own_options, presets_for, sampler_config, sampler_for
from jepa_t.sampling.solvers import annealed

generative = pytest.mark.parametrize("objective", GENERATIVE)

CHANGES = {
    "steps": 2,
    "schedule": "linear",
    "order": "halton",
    "temperature": 0.5,
    "guidance_scale": 1.0,
    "guidance_schedule": "linear",
    "guidance_interval": (0.2, 1.0),
}
OWN = {
    "FlowMatching": {"solver": "heun", "solver_steps": (3, 2)},
    "GaussianDiffusion": {"solver_steps": (3, 2), "eta": 0.5},
    "MeanFlow": {"solver_steps": (3, 2)},
    "TokenCrossEntropy": {"top_k": 1},
}


@generative
def test_each_option_changes_the_image_or_is_refused(objective):
    model, base = model_by(objective), {"guidance_scale": 2.0, "batch_seeds": range(8)}
    before = sample(denoiser(model), **base)
    own = [{"draw": {option: value}} for option, value in OWN[objective].items()]
    for change in (*({option: value} for option, value in CHANGES.items()), *own):
        assert not torch.allclose(sample(denoiser(model), **base | change), before, atol=1e-3), change
    assert set(own_options(model.network.generative)) == set(OWN[objective])
    for option, value in {**OWN["FlowMatching"], **OWN["GaussianDiffusion"], **OWN["TokenCrossEntropy"]}.items():
        if option not in OWN[objective]:
            with pytest.raises(UserError, match=f"unknown option in sampler.draw of {objective} '{option}'"):
                make_model(**with_objective(objective, sampler={"draw": {option: value}}))
    assert {field.name for field in dataclasses.fields(MaskedSampler)} == {*CHANGES, "choice_temperature", "draw"}


@generative
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_only_what_the_objective_reads(objective, preset):
    generative = model_by(objective).network.generative
    if preset not in presets_for(generative):
        with pytest.raises(UserError, match=f"'{preset}' makes too few evaluations .*; {objective} needs"):
            sampler_for(generative, preset)
        return
    sampler = sampler_for(generative, preset)
    assert sampler.steps == PRESETS[preset]["steps"]
    assert sampler.draw == {k: v for k, v in PRESETS[preset]["draw"].items() if k in OWN[objective]}


def test_which_presets_are_too_short_for_which_objective():
    short = {name: {*PRESETS} - {*presets_for(model_by(name).network.generative)} for name in GENERATIVE}
    assert short == {
        "FlowMatching": {"one"}, "GaussianDiffusion": {"few", "one"}, "MeanFlow": set(), "TokenCrossEntropy": set()
    }  # fmt: skip


@pytest.mark.parametrize("name", ["FlowMatching", "MeanFlow"])
def test_guidance_that_is_learned_in_takes_one_branch(name):
    objective = with_objective(name)["objectives"]["own"] | {"learns_guidance": True}
    model = make_model(objectives={"flow": objective})
    watched = Watched(denoiser(model))
    strong, weak = (sample(watched, guidance_scale=scale) for scale in (3.0, 1.0))
    assert watched.evaluated == 2 * 3 * 3  # one row for each of three images, in three steps
    assert not any(null for _, _, null, _ in watched.draws)
    assert not torch.allclose(strong, weak, atol=1e-3)


def test_progress_goes_from_0_to_1_and_solver_steps_from_first_to_last():
    watched = Watched(network())
    sample(watched, steps=5)
    assert [options["progress"] for _, options, *_ in watched.draws] == [0.0, 0.25, 0.5, 0.75, 1.0]
    sample(one := Watched(network()), steps=1)
    assert one.draws[0][1]["progress"] == 0.0
    assert [annealed("solver_steps", (9, 1), made / 4) for made in range(5)] == [9, 7, 5, 3, 1]
    assert [annealed("solver_steps", 4, made) for made in (0.0, 0.3, 1.0)] == [4] * 3


def test_a_config_gives_the_same_pair_as_a_list():
    pair, listed = (sample(draw={"solver_steps": steps}, guidance_interval=[0.0, 1.0]) for steps in ((5, 2), [5, 2]))
    assert torch.equal(pair, listed)


def test_the_presets_are_what_they_say():
    assert PRESETS["reference"] == {
        "steps": 64, "order": "random", "guidance_schedule": "linear", "draw": {"solver": "euler", "solver_steps": 99}
    }  # fmt: skip
    effort = []
    for preset in PRESETS.values():
        plan = MaskedSampler(steps=preset["steps"])._plan(256)
        effort.append(sum(annealed("solver_steps", preset["draw"]["solver_steps"], step.progress) for step in plan))
    assert list(PRESETS) == ["reference", "quality", "balanced", "fast", "few", "one"]
    assert effort == sorted(effort, reverse=True)


def test_a_preset_gives_way_to_options_and_changes_to_nothing():
    base, fast = {"type": "MaskedSampler"}, PRESETS["fast"]
    assert sampler_config("fast") == base | fast
    merged = sampler_config({"preset": "fast", "steps": 5}, guidance_scale=2.0, order=None)
    assert merged == base | fast | {"steps": 5, "guidance_scale": 2.0}
    few = {"steps": 5, "guidance_scale": 2.0, "draw": {"solver_steps": 3, "solver": "heun"}}
    replaced = sampler_config(few, preset="quality", draw={"solver_steps": 7})
    assert replaced == base | few | PRESETS["quality"] | {"draw": {"solver": "ab2", "solver_steps": 7}}
    assert sampler_config(few, draw={"solver": None, "solver_steps": 9})["draw"] == {
        "solver": "heun",
        "solver_steps": 9,
    }
    for first in PRESETS:  # nothing of a preset is left when another takes its place
        assert sampler_config({"preset": first}, preset="reference") == sampler_config("reference")
    given_config = {"preset": "fast", "draw": {"solver_steps": 2}}
    sampler_config(given_config)
    assert given_config == {"preset": "fast", "draw": {"solver_steps": 2}}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("fats", "unknown sampler preset 'fats': did you mean 'fast'?"),
        ({"preset": "balance"}, "did you mean 'balanced'"),
        ({"preset": "fast", "type": "Other"}, "sampler presets belong to MaskedSampler, not to 'Other'"),
        ({"step": 3}, "unknown option of MaskedSampler 'step': did you mean 'steps'"),
        ({"solver_steps": 3}, "unknown option of MaskedSampler 'solver_steps'"),
        ({"draw": 3}, "sampler.draw is 3; give the objective's options"),
        ({"draw": {"solver_step": 3}}, "of FlowMatching 'solver_step': did you mean 'solver_steps'"),
        ({"temperature": -0.1}, "sampler.temperature is -0.1"),
        ({"temperature": math.inf}, "sampler.temperature is inf"),
        ({"choice_temperature": 1.0}, "choice_temperature belongs to order='confidence', not to 'random'"),
        ({"choice_temperature": -1.0, "order": "confidence"}, "sampler.choice_temperature is -1.0"),
        ({"order": "confidence"}, "needs an objective that says how sure it is, such as TokenCrossEntropy"),
        ({"steps": 2.5}, "sampler.steps is 2.5"),
        ({"steps": 0}, "sampler.steps is 0"),
        ({"order": "confident"}, "did you mean 'confidence'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"order": "chekerboard"}, "did you mean 'checkerboard'"),
        ({"guidance_scale": -1.0}, "sampler.guidance_scale is -1.0"),
        ({"guidance_schedule": "cosine"}, "unknown guidance schedule 'cosine'"),
        ({"guidance_interval": (0.9, 0.1)}, "guidance interval"),
    ],
)
def test_a_wrong_sampler_is_told_before_it_is_used(config, says):
    with pytest.raises(UserError) as caught:
        sampler_for(model_by("FlowMatching").network.generative, config)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "draw", "says"),
    [
        ("FlowMatching", {"solver": "ab3"}, "unknown solver 'ab3': did you mean 'ab2'"),
        ("FlowMatching", {"solver_steps": 8.7}, "sampler.draw.solver_steps is 8.7"),
        ("FlowMatching", {"solver_steps": (8, 4.5)}, "sampler.draw.solver_steps is 4.5"),
        (
            "FlowMatching",
            {"solver_steps": (8, 4, 2)},
            "solver_steps is (8, 4, 2); give a number, or a first and a last",
        ),
        ("GaussianDiffusion", {"solver_steps": 0}, "sampler.draw.solver_steps is 0"),
        ("GaussianDiffusion", {"solver_steps": (4, 0)}, "sampler.draw.solver_steps is 0"),
        ("FlowMatching", {"solver_steps": 10**7}, "sampler.draw.solver_steps is 10000000; use at most 10000"),
        ("GaussianDiffusion", {"eta": 1.5}, "sampler.draw.eta is 1.5"),
        ("TokenCrossEntropy", {"top_k": 0}, "sampler.draw.top_k is 0"),
        ("TokenCrossEntropy", {"top_k": 2.5}, "sampler.draw.top_k is 2.5; it must be a whole number"),
    ],
)
def test_a_wrong_option_of_the_objective_is_told(objective, draw, says):
    with pytest.raises(UserError) as caught:
        model_by(objective).generate(["red"], [0], {"steps": 1, "draw": draw})
    assert says in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_belongs_to_the_order_by_confidence_goes_with_it(preset):
    own = {"order": "confidence", "choice_temperature": 3.0}
    config = sampler_config(own, preset)
    assert config.get("choice_temperature") == (3.0 if config["order"] == "confidence" else None)
    assert sampler_config(own, order="halton").get("choice_temperature") is None
    assert sampler_config(own, steps=4)["choice_temperature"] == 3.0
    with pytest.raises(UserError, match="belongs to order='confidence', not to 'halton'"):
        MaskedSampler(**{"order": "halton", "choice_temperature": 3.0})

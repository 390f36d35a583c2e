"""The JEPA loss: smooth L1 between predicted and target features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CHANNELS, WIDTH, float64, make_objective, objective_inputs, objective_loss
from torch import nn

from jepa_t.structures import Prediction, Target

seeds = st.integers(0, 1000)


def identity(**options):
    objective = make_objective("FeaturePrediction", **options)
    objective.mlp = nn.Identity()
    return objective


@given(seeds)
@float64()
def test_the_feature_loss_is_0_at_equality_and_only_there(seed):
    prediction, target = objective_inputs(seed)
    equal = Target(target.tokens, prediction.condition)
    assert objective_loss(identity(), prediction, equal) == 0
    assert objective_loss(identity(), prediction, target) > 0


@given(st.floats(-8, 8), st.floats(0.1, 4))
@float64()
def test_the_feature_loss_is_quadratic_near_0_and_linear_beyond_beta(distance, beta):
    prediction = Prediction(torch.zeros(1, 1, WIDTH), torch.zeros(1, 1, WIDTH))
    target = Target(torch.zeros(1, 1, CHANNELS), torch.full((1, 1, WIDTH), distance))
    d = abs(distance)
    expected = d * d / (2 * beta) if d < beta else d - beta / 2
    assert objective_loss(identity(beta=beta), prediction, target).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@float64()
def test_the_slope_of_the_feature_loss_is_continuous_at_beta():
    slopes = []
    for distance in (2.0 - 1e-6, 2.0 + 1e-6):
        x = torch.full((1, 1, WIDTH), distance, requires_grad=True)
        objective_loss(
            identity(), Prediction(x, x), Target(torch.zeros(1, 1, CHANNELS), torch.zeros(1, 1, WIDTH))
        ).backward()
        slopes.append(x.grad.sum().item())
    assert slopes == pytest.approx([1.0, 1.0], abs=1e-5)


@given(seeds)
@float64()
def test_the_feature_loss_is_a_mean_over_asked_tokens(seed):
    objective, data = make_objective("FeaturePrediction"), objective_inputs(seed)

    def part(rows=slice(None), places=slice(None)):
        cut = (type(x)(*(v if v is None else v[rows, places] for v in vars(x).values())) for x in data)
        return objective_loss(objective, *cut)

    torch.testing.assert_close(torch.stack([part(places=slice(k, k + 1)) for k in range(4)]).mean(), part())
    torch.testing.assert_close(torch.stack([part(slice(k, k + 1)) for k in range(3)]).mean(), part())


@pytest.mark.parametrize("read", ["condition", "features"])
def test_the_feature_loss_reads_what_it_is_told_to_and_nothing_else(read):
    prediction, target = objective_inputs()
    prediction.features.requires_grad_()
    prediction.condition.requires_grad_()
    objective_loss(make_objective("FeaturePrediction", read=read), prediction, target).backward()
    other = "features" if read == "condition" else "condition"
    assert getattr(prediction, read).grad.abs().max() > 0
    assert getattr(prediction, other).grad is None

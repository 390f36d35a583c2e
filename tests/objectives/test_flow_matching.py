"""Flow matching: the path, its velocity, the loss and the way back from noise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CHANNELS,
    WIDTH,
    float64,
    generator,
    make_objective,
    objective_inputs,
    objective_loss,
    overfit,
    registered,
    seeded,
)
from torch import nn

from jepa_t.objectives import FlowMatching, interpolate
from jepa_t.registry import SOLVERS

seeds = st.integers(0, 1000)


def draw(objective, condition, **options):
    with torch.no_grad():
        return objective.draw(condition, seeded(len(condition)), **options).tokens


class Oracle(nn.Module):
    """The head that knows the data: from ``x_t`` and ``t`` it works out ``x - e``."""

    def __init__(self, tokens):
        super().__init__()
        self.tokens, self.seen = tokens, []

    def forward(self, noisy, time, condition):
        self.seen.append((noisy, time))
        return (self.tokens - noisy) / (1 - time[..., None])


class Silent(nn.Module):
    def forward(self, noisy, time, condition):
        return torch.zeros_like(noisy)


@given(seeds, st.floats(0.01, 0.99))
@float64()
def test_the_path_goes_from_noise_to_data_along_a_line(seed, time):
    x, e = torch.randn(2, 3, 4, CHANNELS, generator=generator(seed))
    at = lambda t: interpolate(x, e, torch.full((3, 4, 1), t))  # noqa: E731
    torch.testing.assert_close(at(0.0)[0], e)
    torch.testing.assert_close(at(1.0)[0], x)
    point, velocity = at(time)
    torch.testing.assert_close(point, time * x + (1 - time) * e)
    torch.testing.assert_close(velocity, x - e)
    h = 1e-4
    torch.testing.assert_close((at(time + h)[0] - at(time - h)[0]) / (2 * h), velocity, atol=1e-8, rtol=1e-6)


@given(seeds)
def test_the_flow_loss_is_0_for_the_true_velocity(seed):
    objective, (prediction, target) = make_objective("FlowMatching"), objective_inputs(seed)
    objective.head = Oracle(target.tokens)
    assert objective_loss(objective, prediction, target, seed) < 1e-6


def test_the_flow_loss_of_a_silent_head_is_the_mean_square_velocity():
    objective, (prediction, target) = make_objective("FlowMatching", draws=5), objective_inputs()
    objective.head = Silent()
    noise = torch.randn(5, *target.tokens.shape, generator=generator(7))
    torch.testing.assert_close(
        objective_loss(objective, prediction, target, 7), (target.tokens - noise).square().mean()
    )


def test_times_are_uniform_and_noise_is_normal_and_both_are_drawn_anew():
    prediction, target = objective_inputs(batch=100)
    objective = make_objective("FlowMatching", draws=20)
    objective.head = Oracle(target.tokens)
    objective_loss(objective, prediction, target)
    ((noisy, time),) = objective.head.seen
    assert len(time.unique()) > 0.99 * time.numel() >= 0.99 * 20 * 100  # for each image and draw at least
    histogram = torch.histc(time, 10, 0, 1) / (time.numel() / 10)
    assert (histogram - 1).abs().max() < 0.3  # 4 standard errors of 2,000 draws
    noise = (noisy - time[..., None] * target.tokens) / (1 - time[..., None])
    noise = noise[(time < 0.9).expand(noise.shape[:-1])]
    assert noise.mean().abs() < 0.03
    assert abs(noise.std() - 1) < 0.03
    assert len(noise[:, 0].round(decimals=4).unique()) > 0.7 * len(noise)


def test_more_draws_keep_the_mean_and_shrink_the_variance():
    data = objective_inputs()
    losses = []
    for draws in (1, 16):
        objective = make_objective("FlowMatching", draws=draws)
        with torch.no_grad():
            losses.append(torch.stack([objective_loss(objective, *data, seed=seed) for seed in range(200)]))
    few, many = losses
    assert abs(few.mean() - many.mean()) < 4 * few.std() / 200**0.5
    assert many.std() < 0.4 * few.std()


@pytest.mark.parametrize("solver", registered(SOLVERS))
@float64()
def test_flow_matching_solves_from_scaled_noise_by_the_solver_it_is_told(solver):
    objective, condition = make_objective("FlowMatching"), objective_inputs()[0].condition
    noise = 0.7 * seeded(3).normal(4, CHANNELS)

    def velocity(x, time):
        return objective.head(x, torch.full(x.shape[:2], time), condition)

    expected = SOLVERS.get(solver)(velocity, noise, [0.0, 0.5, 1.0])
    torch.testing.assert_close(draw(objective, condition, temperature=0.7, solver=solver, solver_steps=2), expected)


def test_a_head_trained_on_one_image_draws_it():
    objective = FlowMatching(CHANNELS, WIDTH, head_width=64, head_depth=2)
    prediction, target = objective_inputs(batch=2)
    overfit(objective, prediction, target)
    drawn = draw(objective, prediction.condition, solver="heun", solver_steps=10)
    assert (drawn - target.tokens).square().mean() < 0.1 * target.tokens.square().mean()

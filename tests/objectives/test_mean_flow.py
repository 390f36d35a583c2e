"""Mean flow: the identity, against a flow known in closed form; what it is without stretches; drawing in few steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CHANNELS, WIDTH, float64, generator, make_objective, objective_inputs, objective_loss, overfit, seeded
from torch import nn

from jepa_t.objectives import FlowMatching, MeanFlow
from jepa_t.objectives.flow_matching import NEAREST

MEAN, SPREAD = 0.7, 0.4  # of Gaussian data
times = st.integers(0, 62).map(lambda k: k / 64)


class Gaussian(nn.Module):
    """The head that knows the flow from noise N(0, 1) to data N(m, d^2).

    On the way ``x_t ~ N(t m, t^2 d^2 + (1 - t)^2)``, and the flow moves each point with its quantile.
    """

    def __init__(self, clean=False):
        super().__init__()
        self.clean = clean

    def velocity(self, x, t):
        """E[x - e | x_t]."""
        return MEAN + (t * SPREAD**2 - (1 - t)) / self.variance(t) * (x - t * MEAN)

    def variance(self, t):
        return t**2 * SPREAD**2 + (1 - t) ** 2

    def mean_velocity(self, x, t, s):
        """(x_s - x_t) / (s - t)."""
        end = s * MEAN + (self.variance(s) / self.variance(t)) ** 0.5 * (x - t * MEAN)
        return torch.where(s > t, (end - x) / torch.where(s > t, s - t, 1.0), self.velocity(x, t))

    def forward(self, x, time, condition, length=0.0):
        t = time[..., None]
        length = torch.as_tensor(length).expand(time.shape)[..., None]
        u = self.mean_velocity(x, t, t + length)
        return x + (1 - t).clamp(min=NEAREST) * u if self.clean else u

    def guided(self, condition, times, null, scale, *lengths):
        lengths = dict(zip(times, *lengths, strict=True)) if lengths else dict.fromkeys(times, 0.0)
        return lambda x, t: self(x, torch.full(x.shape[:-1], t), condition, torch.tensor(lengths[t]))


@pytest.mark.parametrize("predicts", ["velocity", "clean"])
@given(times, times, st.integers(0, 1000))
@float64()
def test_the_identity_holds_for_a_flow_known_in_closed_form(predicts, one, other, seed):
    objective = make_objective("MeanFlow", predicts=predicts)
    objective.head = Gaussian(predicts == "clean")
    x = 2 * torch.randn(2, 3, 4, CHANNELS, generator=generator(seed))
    t, s = (torch.full((2, 3, 1), f(one, other)) for f in (min, max))
    velocity = objective.head.velocity(x, t[..., None])
    mean = objective.head.mean_velocity(x, t[..., None], s[..., None])
    change = objective._change(x, t, s, torch.zeros(3, 4, WIDTH), velocity)
    torch.testing.assert_close(velocity + (s - t)[..., None] * change, mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("predicts", ["velocity", "clean"])
@pytest.mark.parametrize("steps", [1, 2, 8])
@float64()
def test_one_step_draws_a_gaussian_as_exactly_as_many(predicts, steps):
    objective = make_objective("MeanFlow", predicts=predicts)
    objective.head = Gaussian(predicts == "clean")
    drawn = objective.draw(torch.zeros(3, 4, WIDTH), seeded(3), solver_steps=steps).tokens
    torch.testing.assert_close(drawn, MEAN + SPREAD * seeded(3).normal(4, CHANNELS))


@pytest.mark.parametrize("predicts", ["velocity", "clean"])
@float64()
def test_flow_matching_draws_a_gaussian_by_velocity_and_by_clean_tokens(predicts):
    objective = make_objective("FlowMatching", predicts=predicts)
    objective.head = Gaussian(predicts == "clean")
    drawn = objective.draw(torch.zeros(3, 4, WIDTH), seeded(3), solver="heun", solver_steps=100).tokens
    torch.testing.assert_close(drawn, MEAN + SPREAD * seeded(3).normal(4, CHANNELS), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("predicts", ["velocity", "clean"])
def test_without_stretches_it_is_flow_matching(predicts):
    mean = make_objective("MeanFlow", stretches=0, time_scale=1000.0, predicts=predicts)
    flow = make_objective("FlowMatching", predicts=predicts)
    flow.head.load_state_dict({k: v for k, v in mean.head.state_dict().items() if not k.startswith("embed_numbers")})
    nn.init.zeros_(mean.head.embed_numbers[0][2].weight)
    nn.init.zeros_(mean.head.embed_numbers[0][2].bias)
    data = objective_inputs()
    torch.testing.assert_close(objective_loss(mean, *data), objective_loss(flow, *data))
    condition = data[0].condition
    drawn = [one.draw(condition, seeded(3), solver_steps=5).tokens for one in (mean, flow)]
    torch.testing.assert_close(*drawn)


def test_the_target_has_no_gradient_and_large_errors_weigh_less():
    objective, data = make_objective("MeanFlow", stretches=2), objective_inputs()
    plain = objective_loss(objective, *data)
    objective.adaptive = 1.0
    assert objective_loss(objective, *data) <= 1.0 < plain
    assert not objective._change(*_point(), torch.randn(3, 4, CHANNELS)).requires_grad


def _point():
    return torch.randn(3, 4, CHANNELS), torch.zeros(3, 1), torch.ones(3, 1), torch.randn(3, 4, WIDTH)


def test_a_head_trained_on_one_image_draws_it_in_one_step():
    objective = MeanFlow(CHANNELS, WIDTH, head_width=64, head_depth=2)
    prediction, target = objective_inputs(batch=2)
    overfit(objective, prediction, target)
    with torch.no_grad():
        drawn = objective.draw(prediction.condition, seeded(2)).tokens
    assert (drawn - target.tokens).square().mean() < 0.1 * target.tokens.square().mean()


class Known(nn.Module):
    """Gives the condition's first numbers, and what the null's would take away from them."""

    def __init__(self, null):
        super().__init__()
        self.null = null

    def forward(self, x, time, condition, *numbers):
        text = condition[..., :CHANNELS].expand(x.shape)
        return torch.cat([text, text - self.null[..., :CHANNELS]], -1)

    def guided(self, condition, times, null, scale, *numbers):
        return lambda x, t: self(x, t, condition)


@pytest.mark.parametrize("kind", [FlowMatching, MeanFlow])
@given(st.floats(-1, 5))
def test_learned_guidance_is_the_line_through_both_branches(kind, scale):
    """Whatever the scale, and with what is learned exact; then its loss is 0."""
    objective, (prediction, target) = make_objective(kind.__name__, learns_guidance=True), objective_inputs()
    null = target.null[:1].expand(2, -1, -1)
    objective.head = Known(null[:1])
    losses = objective(prediction, type(target)(target.tokens, null=null), generator(0))
    assert losses["loss_guidance"] < 1e-10
    drawn = objective.draw(prediction.condition, seeded(3), None, scale, solver_steps=1).tokens
    text, blind = (c[..., :CHANNELS] for c in (prediction.condition, null[:1]))
    expected = seeded(3).normal(4, CHANNELS) + blind + scale * (text - blind)
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-5)


def test_the_difference_that_guidance_learns_sends_no_gradient_to_the_velocity():
    objective, (prediction, target) = make_objective("FlowMatching", learns_guidance=True), objective_inputs()
    objective(prediction, target, generator(0))["loss_guidance"].backward()
    rows = objective.head.out.weight.grad.abs().sum(1)
    assert not rows[:CHANNELS].any()
    assert rows[CHANNELS:].min() > 0

"""Laws of Gaussian diffusion: its schedule, its variational bound, and what a perfect head would draw."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import CHANNELS, WIDTH, float64, generator, gradients, make_objective, objective_inputs, overfit, seeded
from torch import nn
from torch.distributions import Normal, kl_divergence

from jepa_t.objectives import GaussianDiffusion, NoiseSchedule
from jepa_t.objectives.gaussian_diffusion import STEPS

seeds = st.integers(0, 1000)
DIFFUSERS = {"beta_schedule": "squaredcos_cap_v2", "clip_sample": False}


class Head(nn.Module):
    """A head that says ``noise(x, time)``, and where the variance lies, ``place``."""

    def __init__(self, noise, place=0.0):
        super().__init__()
        self.noise, self.place, self.seen = noise, place, []

    def forward(self, x, time, condition):
        self.seen.append((x, time))
        noise = self.noise(x, time)
        return torch.cat([noise, torch.full_like(noise, self.place)], -1)

    def guided(self, condition, times, null, scale):
        return lambda x, time: self(x, torch.tensor(time), condition)


def alpha_bar(time):
    return NoiseSchedule().alpha_bar[(torch.as_tensor(time) * STEPS).round().long()]


def knows(tokens):
    """The noise in ``x``, for who knows the tokens."""

    def noise(x, time):
        left = alpha_bar(time).to(x)[..., None] if torch.as_tensor(time).dim() else alpha_bar(time).to(x)
        return (x - left.sqrt() * tokens) / (1 - left).sqrt()

    return noise


def knows_the_law(mean, std):
    """The best guess of the noise in ``x`` for tokens of a normal distribution."""

    def noise(x, time):
        left = alpha_bar(time)
        return (1 - left).sqrt() * (x - left.sqrt() * mean) / (left * std**2 + 1 - left)

    return noise


def make(head=None, **options):
    objective = make_objective("GaussianDiffusion", **options)
    if head is not None:
        objective.head = head
    return objective


# The schedule


def test_the_schedule_is_diffusers_cosine():
    theirs = DDPMScheduler(**DIFFUSERS)
    torch.testing.assert_close(NoiseSchedule().alpha_bar.float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(NoiseSchedule().beta.float(), theirs.betas, rtol=1e-4, atol=1e-6)


@example(STEPS)
@given(st.integers(1, STEPS))
def test_a_shorter_schedule_agrees_with_the_whole_at_the_steps_it_keeps(kept):
    whole, short = NoiseSchedule(), NoiseSchedule(kept)
    assert len(short.steps) == len(set(short.steps)) == kept
    assert short.steps == sorted(short.steps)
    assert torch.equal(short.alpha_bar, whole.alpha_bar[short.steps])
    torch.testing.assert_close((1 - short.beta).cumprod(0), short.alpha_bar, rtol=1e-9, atol=0)
    assert (short.posterior <= short.beta).all()
    gaps = torch.tensor(short.steps).diff()
    assert (gaps - STEPS / kept).abs().le(1).all()
    assert kept < STEPS or short.steps == list(range(STEPS))


@given(st.integers(2, STEPS))
def test_a_variance_lies_between_the_posterior_and_beta_and_the_first_is_that_of_the_second(kept):
    schedule = NoiseSchedule(kept)
    least, greatest = schedule.variances()
    torch.testing.assert_close(least[1:].exp(), schedule.posterior[1:])
    torch.testing.assert_close(greatest.exp(), schedule.beta)
    assert schedule.posterior[0] == 0
    assert least[0] == least[1]


def test_noisy_tokens_have_the_moments_that_the_schedule_says():
    """q(x_t given x) is normal with mean sqrt(alpha_bar) x and variance 1 - alpha_bar."""
    head = Head(lambda x, time: torch.zeros_like(x))
    prediction, target = objective_inputs(batch=2, asked=3000)
    target.tokens[:] = target.tokens[:, :1]
    make(head, draws=8)(prediction, target, generator(0))
    ((noisy, time),) = head.seen
    assert len(time.unique()) == time.numel() == 8 * 2  # one for each image and draw
    left = alpha_bar(time).float()
    mean, std = noisy.mean(2), noisy.std(2)
    torch.testing.assert_close(mean, left.sqrt() * target.tokens[:, 0].expand(8, -1, -1), atol=0.08, rtol=0)
    torch.testing.assert_close(std, (1 - left).sqrt().expand_as(std), atol=0.01, rtol=0.06)
    low, high = (time * STEPS).min(), (time * STEPS).max()
    assert low >= 0
    assert high <= STEPS - 1


# The loss


@given(seeds)
def test_the_loss_of_a_head_that_knows_the_noise_is_0_and_of_a_silent_one_1(seed):
    prediction, target = objective_inputs(seed)
    losses = make(Head(knows(target.tokens)))(prediction, target, generator(seed))
    assert losses["loss_diffusion"] < 1e-6
    prediction, target = objective_inputs(batch=40)
    silent = make(Head(lambda x, time: torch.zeros_like(x)))(prediction, target, generator(seed))
    assert silent["loss_diffusion"].item() == pytest.approx(1.0, abs=0.15)


@given(seeds, st.floats(-1, 1))
def test_the_variance_loss_is_the_divergence_of_two_reverse_steps(seed, place):
    """From the textbook's means in x_0 and x_t, by torch.distributions (DDPM, equations 6 and 7)."""
    prediction, target = objective_inputs(seed)
    head = Head(lambda x, time: torch.sin(3 * x), place)
    found = make(head)(prediction, target, generator(seed))["loss_variance"]
    ((noisy, time),) = head.seen
    whole, step = NoiseSchedule(), (time * STEPS).round().long()[..., None]
    left, before, beta, posterior = (t[step] for t in (whole.alpha_bar, whole.before, whole.beta, whole.posterior))
    noisy = noisy.double()

    def mean(noise):
        x0 = (noisy - (1 - left).sqrt() * noise) / left.sqrt()
        return (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * noisy) / (1 - left)

    true = (noisy - left.sqrt() * target.tokens) / (1 - left).sqrt()
    posterior = torch.where(step == 0, whole.posterior[1], posterior)
    between = (place + 1) / 2 * beta.log() + (1 - place) / 2 * posterior.log()
    divergence = kl_divergence(
        Normal(mean(true), posterior.sqrt()), Normal(mean(torch.sin(3 * noisy)), (between / 2).exp())
    )
    expected = divergence.mean() / math.log(2)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)


def test_the_variance_does_not_teach_the_mean():
    objective, (prediction, target) = make(), objective_inputs()
    objective(prediction, target, generator(0))["loss_variance"].backward()
    for parameter in (objective.head.out.weight, objective.head.out.bias):
        assert not parameter.grad[:CHANNELS].any()
        assert parameter.grad[CHANNELS:].abs().amin(0).min() > 0
    objective.zero_grad()
    objective(prediction, target, generator(0))["loss_diffusion"].backward()
    assert not objective.head.out.weight.grad[CHANNELS:].any()
    assert max(gradients(objective).values()) > 0


# Drawing


@given(seeds, st.sampled_from([1, 2, 7, 30, 5000]))  # more than there are are cut to all
@float64()
def test_ddim_with_the_true_noise_recovers_the_tokens(seed, steps):
    prediction, target = objective_inputs(seed)
    drawn = make(Head(knows(target.tokens))).draw(prediction.condition, seeded(3), solver_steps=steps, eta=0.0)
    torch.testing.assert_close(drawn.tokens, target.tokens, atol=1e-7, rtol=1e-7)


class Recorded:
    """Randomness that is written down."""

    def __init__(self, batch):
        self.random, self.given = seeded(batch), []

    def normal(self, *shape):
        self.given.append(self.random.normal(*shape))
        return self.given[-1]


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@float64()
def test_ddim_is_diffusers(eta):
    objective, condition, steps, random = make(), objective_inputs()[0].condition, 10, Recorded(3)
    found = objective.draw(condition, random, solver_steps=steps, eta=eta).tokens
    theirs = DDIMScheduler(**DIFFUSERS)
    theirs.alphas_cumprod, theirs.final_alpha_cumprod = NoiseSchedule().alpha_bar, torch.tensor(1.0)
    theirs.set_timesteps(steps)
    x = random.given[0]
    with torch.no_grad():
        for number, step in enumerate(reversed(NoiseSchedule(steps).steps)):
            noise = objective.head(x, torch.full((3, 4), step / STEPS), condition)[..., :CHANNELS]
            last = number == steps - 1
            added = torch.zeros_like(x) if last or eta == 0 else random.given[1][:, steps - 2 - number]
            x = theirs.step(noise, step, x, eta=0.0 if last else eta, variance_noise=added).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-6)


@float64()
def test_an_ancestral_step_is_diffusers_with_a_learned_range(monkeypatch):
    objective, condition, steps, random = make(), objective_inputs()[0].condition, 10, Recorded(3)
    found = objective.draw(condition, random, solver_steps=steps).tokens
    theirs = DDPMScheduler(**DIFFUSERS, variance_type="learned_range")
    theirs.alphas_cumprod, theirs.one = NoiseSchedule().alpha_bar, torch.tensor(1.0)
    order = NoiseSchedule(steps).steps[::-1]
    theirs.set_timesteps(timesteps=order)
    where = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
    x = random.given[0]
    with torch.no_grad():
        for number, step in enumerate(order):
            out = objective.head(x, torch.full((3, 4), step / STEPS), condition)
            if number == steps - 1:  # theirs adds noise at every step but the 0th; the last of a short chain adds none
                monkeypatch.setattr(where, lambda *a, **k: torch.zeros(3, CHANNELS, 4))
            else:
                added = random.given[1][:, steps - 2 - number].transpose(1, 2)
                monkeypatch.setattr(where, lambda *a, added=added, **k: added)
            swapped = theirs.step(out.transpose(1, 2), step, x.transpose(1, 2))  # it splits channels at dimension 1
            x = swapped.prev_sample.transpose(1, 2)
    torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-6)


def deviation(schedule, index, eta, place):
    """Of the noise that a reverse step adds."""
    if eta is not None:
        return eta * schedule.posterior[index].sqrt()
    least, greatest = (bound[index] for bound in schedule.variances())
    return ((least * (1 - place) + greatest * (1 + place)) / 4).exp()


def drawn_variance(steps, std, temperature, eta, place):
    """Of what a perfect head draws from normal data: every step is affine, so the variance follows a recursion."""
    schedule = NoiseSchedule(steps)
    keep, pull = schedule.mean(1.0 if eta is None else eta)
    variance = 1.0 if eta is None else temperature**2
    for index in reversed(range(steps)):
        left = schedule.alpha_bar[index]
        slope = keep[index] + pull[index] * (1 - left).sqrt() / (left * std**2 + 1 - left)
        variance = slope**2 * variance
        if index:
            variance = variance + (temperature * deviation(schedule, index, eta, place)) ** 2
    return float(variance)


@pytest.mark.parametrize("eta", [None, 0.0, 0.6])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 0.9, 1.0])
def test_the_variance_of_what_is_drawn_is_the_closed_form_at_every_temperature(eta, temperature):
    std, place, options = 0.5, -0.4, {"solver_steps": 20, "eta": eta, "temperature": temperature}
    head = Head(knows_the_law(0.7, std), place)
    drawn = make(head).draw(torch.zeros(2, 4000, WIDTH), seeded(2), **options).tokens
    expected = drawn_variance(20, std, temperature, eta, place)
    assert drawn.double().std().item() == pytest.approx(expected**0.5, rel=0.02, abs=1e-4)
    assert drawn.mean().item() == pytest.approx(0.7, abs=0.02)


def test_many_steps_draw_the_law_of_the_data():
    for eta in (None, 0.0, 1.0):
        assert drawn_variance(STEPS, 0.5, 1.0, eta, -1.0) == pytest.approx(0.25, rel=0.02)
        assert drawn_variance(100, 0.5, 1.0, eta, -1.0) == pytest.approx(0.25, rel=0.12)


def test_a_head_trained_on_one_image_draws_it():
    objective = GaussianDiffusion(CHANNELS, WIDTH, head_width=64, head_depth=2)
    prediction, target = objective_inputs(batch=2)
    overfit(objective, prediction, target, steps=600)
    for options in ({}, {"eta": 0.0}):
        drawn = objective.draw(prediction.condition, seeded(2), solver_steps=20, **options).tokens
        assert (drawn - target.tokens).square().mean() < 0.1 * target.tokens.square().mean()

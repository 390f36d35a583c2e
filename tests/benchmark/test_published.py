"""The published procedure, which speed is compared with, gives what the library gives."""

import pytest
import torch
from tiny import CAPTIONS, float64, make_model, random_images

from jepa_t.benchmark import published
from jepa_t.benchmark.published import ITEMS

REFERENCE = {"preset": "reference", "steps": 6, "draw": {"solver_steps": 5}, "guidance_scale": 2.5}


@pytest.mark.parametrize("fusion", ["jepa_t", "early", "late"])
@float64()
def test_the_reference_preset_draws_its_images(fusion):
    model = make_model(fusion=fusion, sampler=REFERENCE)
    found = model.generate(CAPTIONS[:3], [4, 5, 6])
    for count in range(len(ITEMS) + 1):
        expected = published.sample(model, CAPTIONS[:3], [4, 5, 6], 6, 5, 2.5, ITEMS[:count])
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert not torch.allclose(published.sample(model, CAPTIONS[:3], [4, 5, 6], 6, 5, 1.0), found)


def test_it_does_so_in_single_precision_too():
    model = make_model(sampler={"preset": "reference", "guidance_scale": 2.5})
    found, expected = model.generate(CAPTIONS[:2], [0, 1]), published.sample(model, CAPTIONS[:2], [0, 1], scale=2.5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_one_of_several_steps_is_computed_to_time_it():
    model, steps = make_model(), []
    hook = model.ema.encoder.register_forward_pre_hook(lambda _, args: steps.append(args[0].shape[1]))
    published.sample(model, CAPTIONS[:1], [0], 6, 2, every=3)
    assert steps == [1, 4]
    hook.remove()


@pytest.mark.parametrize("fusion", ["jepa_t", "early", "none"])
def test_its_losses_and_gradients_are_the_librarys(fusion):
    losses, gradients = [], []
    for loss in (published.loss, type(make_model()).loss):
        model = make_model(fusion=fusion)
        torch.manual_seed(0)
        found = loss(model, random_images(5), CAPTIONS[:5])
        sum(found.values()).backward()
        losses.append(found)
        gradients.append([p.grad for p in model.network.parameters() if p.grad is not None])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)

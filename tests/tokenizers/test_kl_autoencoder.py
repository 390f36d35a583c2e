"""The continuous autoencoder: it learns, its tokens have unit variance, and it serves a model."""

import pytest
import torch
from tiny import generator, gradients, smooth_images, trained_kl

from jepa_t.errors import UserError
from jepa_t.registry import MODELS, build
from jepa_t.tokenizers import KLAutoencoder

OPTIONS = {"size": (4, 6), "stride": 2, "latent_channels": 6, "width": (16, 24), "depth": 1, "kl": 1e-4}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    training = build({"type": "TokenizerTraining", "tokenizer": {"type": "KLAutoencoder", **OPTIONS}}, MODELS)
    optimizer, images = torch.optim.Adam(training.parameters(), lr=0.01), smooth_images(256)
    for step in range(80):
        optimizer.zero_grad()
        batch = images[torch.randperm(256, generator=generator(step))[:64]]
        sum(training(batch, {}, mode="loss").values()).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("run") / "iter_80.pth"
    torch.save({"state_dict": training.state_dict()}, path)
    return str(path)


def test_it_learns_and_its_tokens_have_unit_variance(checkpoint):
    tokenizer, images, held_out = (
        KLAutoencoder(checkpoint=checkpoint, **OPTIONS),
        smooth_images(256),
        smooth_images(64, seed=9),
    )
    tokenizer.fit(images)
    tokens = tokenizer.encode(images).detach()
    assert tokenizer.fitted
    assert tokens.shape == (256, 6, 6)
    assert tokens.mean((0, 1)).abs().max() < 1e-3
    assert (tokens.std((0, 1)) - 1).abs().max() < 0.01
    error = (tokenizer.decode(tokenizer.encode(held_out)) - held_out).square().mean()
    assert error < 0.25 * held_out.var()


def test_everything_learns_and_the_divergence_counts():
    tokenizer = KLAutoencoder(**OPTIONS | {"absolute": 1.0})
    losses = tokenizer.loss(smooth_images(8))
    assert {"loss_reconstruction", "loss_absolute", "loss_kl"} == losses.keys()
    sum(losses.values()).backward()
    assert {key for key, size in gradients(tokenizer).items() if size == 0} == set()
    assert losses["loss_kl"] >= 0


def test_several_latents_make_a_token():
    tokenizer = KLAutoencoder(**OPTIONS | {"size": (8, 8), "patch": 2})
    images = torch.rand(2, 3, 8, 8)
    assert tokenizer.encode(images).shape == (2, 4, 24)
    assert tokenizer.decode(tokenizer.encode(images)).shape == images.shape


def test_one_latent_has_no_spread():
    tokenizer = KLAutoencoder(**trained_kl() | {"size": (2, 2)})
    with pytest.raises(UserError, match="can't measure the spread of one latent"):
        tokenizer.fit(torch.rand(1, 3, 2, 2))
    tokenizer.fit(torch.rand(2, 3, 2, 2))
    assert tokenizer.std.isfinite().all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kl": -1}, "KLAutoencoder kl is -1"),
        ({"width": []}, "KLAutoencoder width is .*; give a number of channels"),
        ({"latent_channels": 0}, "KLAutoencoder latent_channels is 0"),
        ({"stride": 4}, "tokens of 4 x 4 pixels don't divide"),
        ({"stride": 1}, "2 widths halve the resolution 1 times; a stride of 1 doesn't allow it"),
    ],
)
def test_a_wrong_option_is_told(options, says):
    with pytest.raises(UserError, match=says):
        KLAutoencoder(**OPTIONS | options)


def test_without_a_checkpoint_it_says_how_to_train_one():
    with pytest.raises(UserError, match="KLAutoencoder names no checkpoint; train it first"):
        KLAutoencoder(**OPTIONS).fit(smooth_images(4))

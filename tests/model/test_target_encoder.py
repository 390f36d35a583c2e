"""The target encoder and the averaged weights it belongs to."""

import pytest
import torch
from tiny import (
    CAPTIONS,
    TOKENS,
    config,
    copy_of,
    float64,
    gradients,
    loss,
    make_model,
    random_images,
    random_split,
    random_text,
    random_tokens,
    randomise,
    shared_model,
)

from jepa_t.ema import update_ema
from jepa_t.fusion import PRESETS
from jepa_t.masking import gather
from jepa_t.registry import MODELS, build

presets = pytest.mark.parametrize("fusion", PRESETS)


def network(fusion="jepa_t"):
    return shared_model(fusion, torch.float64).network


@presets
def test_the_target_never_sees_the_caption(fusion, observed):
    """In the public code the teacher saw the caption while the student's was dropped."""
    model = shared_model(fusion)
    loss(model, captions=CAPTIONS[:4])
    loss(model, captions=CAPTIONS[4:8])
    one, other = observed["targets"]
    assert torch.equal(one.features, other.features)
    assert not one.features.requires_grad


@presets
@float64()
def test_the_target_is_the_encoder_over_all_tokens_under_the_null_text(fusion):
    model, split, tokens = network(fusion), random_split(2, 2, 3), random_tokens(2)
    registers = model.encoder.registers.expand(2, -1, -1)
    if "encoder" in model.fusion:
        registers = model.fusion["encoder"](registers, model.text_tokenizer.null(2))
    everything = torch.arange(TOKENS).expand(2, -1)
    _, features = model.encoder(tokens, everything, registers)
    target = model.target(tokens, split)
    torch.testing.assert_close(target, gather(features, split.asked))
    for place in range(TOKENS):  # of each token, seen or not
        changed = tokens.clone()
        changed[:, place] += 1
        assert not torch.allclose(model.target(changed, split), target)


def test_the_target_follows_the_average_of_the_encoder(observed):
    model = copy_of(shared_model())
    tokens, split = random_tokens(2), random_split(2, 2)
    old = model.ema.target(tokens, split)
    randomise(model.network, seed=1)
    update_ema(model.network, model.ema, 1.0)
    assert torch.equal(model.ema.target(tokens, split), old)
    loss(model)
    encoded = model.image_tokenizer.encode(random_images(4))
    assert torch.equal(observed["targets"][-1].features, model.ema.target(encoded, observed["splits"][-1]))
    before = model.ema.encoder.norm.weight.clone()
    update_ema(model.network, model.ema, 0.5)
    torch.testing.assert_close(model.ema.encoder.norm.weight, (before + model.network.encoder.norm.weight) / 2)
    update_ema(model.network, model.ema, 0.0)
    assert torch.equal(model.ema.target(tokens, split), model.network.target(tokens, split))


def test_the_target_has_no_dropout_and_the_network_in_training_has():
    model = make_model(encoder=config()["encoder"] | {"dropout": 0.5})
    tokens, split, text = random_tokens(2), random_split(2, 2), random_text(2)
    assert model.train().training
    assert torch.equal(model.ema.target(tokens, split), model.ema.target(tokens, split))
    one, other = (model.network.condition(tokens, split, text).condition for _ in range(2))
    assert not torch.equal(one, other)
    model.eval()
    one, other = (model.network.condition(tokens, split, text).condition for _ in range(2))
    assert torch.equal(one, other)


def test_the_average_starts_as_a_whole_copy_with_parts_of_its_own():
    torch.manual_seed(0)
    model = build(config(), MODELS)
    theirs = dict(model.ema.named_parameters())
    for name, parameter in model.network.named_parameters():
        assert torch.equal(parameter, theirs[name])
        assert parameter.data_ptr() != theirs[name].data_ptr()
    with torch.no_grad():
        model.ema.text_tokenizer.words[1] += 1.0
    assert not torch.equal(model.ema.text_tokenizer.null(1).pooled, model.network.text_tokenizer.null(1).pooled)


@pytest.mark.parametrize("frozen", ["encoder", ("encoder", "predictor")])
def test_what_is_frozen_is_the_averages_and_neither_learns_nor_drops(frozen):
    part = {name: config()[name] | {"dropout": 0.5} for name in ("encoder", "predictor")}
    model = make_model(frozen=frozen, **part).train()
    names = [frozen] if isinstance(frozen, str) else frozen
    for name in ("encoder", "predictor"):
        network, average = getattr(model.network, name), getattr(model.ema, name)
        assert (network is average) == (name in names)
        assert network.training == (name not in names)
    sum(model.loss(random_images(2), CAPTIONS[:2]).values()).backward()
    found = gradients(model.network)
    assert all((value == 0) == name.startswith(tuple(f"{name}." for name in names)) for name, value in found.items())
    twin = make_model(seed=1, frozen=frozen)
    weights = model.state_dict()
    for name in names:  # as in a file with raw and averaged weights
        for key in [key for key in weights if key.startswith(f"network.{name}.")]:
            weights[key] = weights[key] + 1
    twin.load_state_dict(weights)
    for key, value in model.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value), key

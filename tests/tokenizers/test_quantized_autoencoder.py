"""The autoencoder that users train: every quantiser learns, and what it learned travels with the model."""

import json
import re

import pytest
import torch
from engine_fakes import tiny_config
from tiny import CAPTIONS, QUANTIZED, config, generator, gradients, make_tokenizer, smooth_images, trained_quantized

from jepa_t import files
from jepa_t.engine import JEPATRunner, apply
from jepa_t.errors import UserError
from jepa_t.files import write_weights
from jepa_t.model import JEPAT
from jepa_t.pipeline import Pipeline
from jepa_t.registry import DATASETS, MODELS, build
from jepa_t.tokenizers.discrete import nearest

QUANTIZERS = {
    "FSQ": {"name": "FSQ", "levels": (8, 8, 8, 5)},
    "LFQ": {"name": "LFQ", "channels": 9},
    "VQ": {"name": "VQ", "codebook_size": 256, "channels": 4},
}
quantizers = pytest.mark.parametrize("name", QUANTIZERS)


def untrained(name="FSQ", **options):
    return make_tokenizer("QuantizedAutoencoder", quantizer=QUANTIZERS[name], checkpoint=None, **options)


def error(tokenizer, images):
    return (tokenizer.decode(tokenizer.encode(images)) - images).square().mean().item()


@quantizers
def test_training_lowers_the_error_on_other_images(name):
    tokenizer, held_out = untrained(name), smooth_images(64, seed=9)
    optimizer, images = torch.optim.Adam(tokenizer.parameters(), lr=0.01), smooth_images(256)
    for step in range(80):
        optimizer.zero_grad()
        losses = tokenizer.loss(images[torch.randperm(256, generator=generator(step))[:64]])
        sum(value for key, value in losses.items() if "loss" in key).backward()
        optimizer.step()
    assert 0 < losses["codes_used"] <= 1
    assert 1 <= losses["perplexity"] <= tokenizer.codebook_size
    assert ("loss_quantizer" in losses) == (name != "FSQ")
    tokenizer.eval()
    assert error(tokenizer, held_out) < (0.4 if name == "LFQ" else 0.25) * held_out.var()
    assert len(tokenizer.ids(held_out).unique()) > 20


@quantizers
def test_the_encoder_learns_through_the_quantizer(name):
    tokenizer = untrained(name)
    tokenizer.loss(smooth_images(64))["loss_reconstruction"].backward()
    found = gradients(tokenizer)
    assert {key for key, size in found.items() if size == 0} == set(), found


@quantizers
def test_looking_ids_up_changes_nothing_even_while_training(name):
    tokenizer, images = untrained(name), smooth_images(64, seed=1)
    tokenizer.loss(smooth_images(64))  # VQ draws its first codes here
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    ids = tokenizer.ids(images)
    assert torch.equal(tokenizer.ids(images), ids)
    assert torch.equal(tokenizer.eval().ids(images), ids)
    for key, value in tokenizer.state_dict().items():
        assert torch.equal(value, before[key]), key


@quantizers
def test_the_codebook_has_the_size_that_was_asked_for(name):
    tokenizer = untrained(name)
    sizes = {"FSQ": (2560, 4), "LFQ": (512, 9), "VQ": (256, 4)}
    assert (tokenizer.codebook_size, tokenizer.channels) == tuple(tokenizer.codebook.shape) == sizes[name]
    assert_every_code_is_another(tokenizer)


def assert_every_code_is_another(tokenizer):
    ids = torch.arange(tokenizer.codebook_size)
    assert len(tokenizer.codebook.unique(dim=0)) == len(ids)
    assert torch.equal(tokenizer.snap(tokenizer.embed(ids)), ids)


@quantizers
def test_every_code_is_another_even_where_all_patches_are_the_same(name, capfd):
    """VQ draws codes from the batch: here 256 from 6 patches, of which 3 are equal."""
    tokenizer = untrained(name).train()
    images = smooth_images(1)
    images[..., :2] = images[..., 4:] = 1.0
    for _ in range(4):
        tokenizer.loss(images.expand(50, -1, -1, -1))
        assert_every_code_is_another(tokenizer)
    tokenizer.eval().ids(images)
    assert capfd.readouterr() == ("", "")


def test_the_nearest_code_of_fsq_found_by_channels_is_the_nearest_of_all():
    tokenizer = untrained("FSQ")
    tokenizer.mean.copy_(torch.tensor([0.3, -0.1, 0.0, 0.2]))
    tokenizer.std.copy_(torch.tensor([0.5, 0.4, 0.7, 0.6]))
    x = 2 * torch.randn(500, 4, generator=generator(3))
    assert torch.equal(tokenizer.nearest_ids(x), nearest(x, tokenizer.codes))


def test_convolutions_at_every_resolution_learn_and_keep_the_code_s_size():
    several = untrained(stride=2, width=(8, 12), encoder_width=(6, 8), depth=1, absolute=0.5)
    images = smooth_images(8)
    assert several.encode(images).shape == untrained(stride=2).encode(images).shape
    assert several.decode(several.encode(images)).shape == images.shape
    losses = several.loss(images)
    assert losses["loss_absolute"] > 0
    sum(value for key, value in losses.items() if "loss" in key).backward()
    assert {key for key, size in gradients(several).items() if size == 0} == set()


def test_levels_of_two_are_levels_too():
    tokenizer = make_tokenizer("QuantizedAutoencoder", quantizer={"name": "FSQ", "levels": (2, 2, 2)}, checkpoint=None)
    assert tokenizer.codebook_size == 8
    assert torch.equal(tokenizer.snap(tokenizer.embed(torch.arange(8))), torch.arange(8))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"quantizer": {"name": "FSQ2", "levels": (3,)}}, "unknown quantizer.name 'FSQ2': did you mean 'FSQ'"),
        ({"quantizer": {"levels": (3,)}}, "unknown quantizer.name None"),
        ({"quantizer": {"name": "FSQ"}}, "fsq needs the option 'levels'"),
        ({"quantizer": {"name": "FSQ", "levels": (3, 1)}}, "quantizer.levels is 1; it must be a whole"),
        ({"quantizer": {"name": "FSQ", "levels": (8.5, 5)}}, "quantizer.levels is 8.5; it must be a whole"),
        ({"quantizer": {"name": "FSQ", "levels": 5}}, "quantizer.levels is 5; give numbers"),
        ({"quantizer": {"name": "FSQ", "levels": ()}}, r"quantizer.levels is \(\)"),
        ({"quantizer": {"name": "LFQ", "channels": 0}}, "quantizer.channels is 0"),
        ({"quantizer": {"name": "VQ", "codebook_size": 0, "channels": 4}}, "quantizer.codebook_size is 0"),
        ({"quantizer": {"name": "VQ", "codebook_sise": 9, "channels": 4}}, "did you mean 'codebook_size'"),
        ({"stride": 3}, "tokens of 3 x 3 pixels don't divide the image size 4 x 6"),
        ({"width": 0}, "QuantizedAutoencoder width is 0; it must be a whole number of at least 1"),
        ({"depth": -1}, "QuantizedAutoencoder depth is -1"),
        ({"size": 8}, r"QuantizedAutoencoder size is 8; give height and width in pixels, such as \(256, 256\)"),
        ({"size": (4.0, 6)}, "QuantizedAutoencoder size is 4.0; it must be a whole number"),
        ({"stride": 2, "width": (8, 8, 8)}, "3 widths halve the resolution 2 times; a stride of 2 doesn't allow it"),
        ({"stride": 2.0}, "tokens of 2.0 x 2.0 pixels don't divide"),
    ],
)
def test_a_wrong_option_is_told(options, says):
    with pytest.raises(UserError, match=says):
        make_tokenizer("QuantizedAutoencoder", **options)


# Its checkpoint


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"checkpoint": None}, "names no checkpoint; train it first, such as: jepa-t train"),
        (
            {"checkpoint": "nowhere/at_all"},
            "no checkpoint at 'nowhere/at_all'; train it first, .*jepa-t train",
        ),
        ({"width": 24}, "belongs to another config: encoder.0.weight"),
    ],
)
def test_a_checkpoint_that_does_not_serve_is_told_when_training_begins(options, says):
    tokenizer = make_tokenizer("QuantizedAutoencoder", **options)  # building one needs no file
    with pytest.raises(UserError, match=says):
        tokenizer.fit(smooth_images(4))


@pytest.mark.parametrize("levels", [(5, 8, 8, 8), (3, 3, 3, 3)])
def test_the_checkpoint_of_another_fsq_is_refused_in_one_line(tmp_path, levels):
    """Its weights would fit: it has none."""
    told, other = re.escape(str(levels)), {"name": "FSQ", "levels": levels}
    says = rf"trained with FSQ levels \(8, 8, 8, 5\), here it is {told}; set image_tokenizer.quantizer.levels"
    tokenizer = make_tokenizer("QuantizedAutoencoder", quantizer=other)
    with pytest.raises(UserError, match=says):
        tokenizer.fit(smooth_images(4))
    plain = config(image_tokenizer={"type": "QuantizedAutoencoder"} | trained_quantized())
    torch.save({"state_dict": build(plain, MODELS).state_dict(), "meta": {"model": plain}}, tmp_path / "iter_1.pth")
    assert Pipeline.from_pretrained(tmp_path / "iter_1.pth", plain, device="cpu")
    plain["image_tokenizer"] = plain["image_tokenizer"] | {"quantizer": other}
    with pytest.raises(UserError, match=says) as error:
        Pipeline.from_pretrained(tmp_path / "iter_1.pth", plain, device="cpu")
    assert "\n" not in str(error.value)


def test_the_tokenizer_of_a_trained_model_is_a_checkpoint_too(tmp_path, monkeypatch):
    """Of its file, of a saved folder, and of a model that comes with the library, by its name."""
    plain = config(image_tokenizer={"type": "QuantizedAutoencoder", **trained_quantized()})
    model = build(plain, MODELS)
    model.fit(smooth_images(64), CAPTIONS)
    torch.save({"state_dict": model.state_dict(), "meta": {"model": plain}}, tmp_path / "iter_1.pth")
    Pipeline(model, plain).save_pretrained(tmp_path / "mine")
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    for where in (str(tmp_path / "iter_1.pth"), str(tmp_path / "mine"), "mine"):
        tokenizer = make_tokenizer("QuantizedAutoencoder", checkpoint=where)
        tokenizer.fit(smooth_images(64))
        assert torch.equal(tokenizer.encode(smooth_images(3)), model.image_tokenizer.encode(smooth_images(3)))


def test_a_tokenizer_that_is_not_trained_is_told_with_its_own_command(tmp_path):
    with pytest.raises(UserError, match=r"jepa-t train tokenizers/fsq_emoji$"):
        make_tokenizer("QuantizedAutoencoder", checkpoint=str(tmp_path / "fsq_emoji")).fit(smooth_images(4))


def test_a_tokenizer_of_another_size_is_told(tmp_path, caplog):
    whole = torch.load(trained_quantized()["checkpoint"], weights_only=True)
    for size, says in (((8, 8), "was trained at 8 x 8 pixels and now reads 4 x 6"), ((4, 6), "")):
        caplog.clear()
        model = {"tokenizer": {"size": size}}
        torch.save(whole | {"meta": {"model": model}}, tmp_path / "other.pth")
        write_weights(tmp_path / "model.safetensors", whole["state_dict"])  # a saved folder
        (tmp_path / "config.json").write_text(json.dumps(model))
        for place in (tmp_path / "other.pth", tmp_path):
            make_tokenizer("QuantizedAutoencoder", checkpoint=str(place)).fit(smooth_images(4))
        assert caplog.text.count(says) == 2 if says else not caplog.text


def test_bare_weights_are_a_checkpoint_too(tmp_path):
    whole = torch.load(trained_quantized()["checkpoint"], weights_only=True)
    torch.save(whole["state_dict"], tmp_path / "bare.pth")
    one, other = (make_tokenizer("QuantizedAutoencoder", **c) for c in ({}, {"checkpoint": str(tmp_path / "bare.pth")}))
    for tokenizer in (one, other):
        tokenizer.fit(smooth_images(4))
    assert torch.equal(one.encode(smooth_images(4)), other.encode(smooth_images(4)))


def test_a_saved_model_needs_the_tokenizer_s_own_file_no_more(tmp_path):
    own = tmp_path / "tokenizer.pth"
    torch.save(torch.load(trained_quantized()["checkpoint"], weights_only=True), own)
    plain = config(image_tokenizer={"type": "QuantizedAutoencoder", **QUANTIZED, "checkpoint": str(own)})
    model = build(plain, MODELS)
    model.fit(smooth_images(64), CAPTIONS)
    images = smooth_images(2, seed=5)
    tokens = model.image_tokenizer.encode(images)
    assert error(model.image_tokenizer, images) < 0.1 * images.var()
    own.unlink()
    torch.save({"state_dict": model.state_dict(), "meta": {"model": plain}}, tmp_path / "iter_1.pth")
    draw = Pipeline.from_pretrained(tmp_path / "iter_1.pth", device="cpu")
    draw.save_pretrained(tmp_path / "folder")
    for again in (draw, Pipeline.from_pretrained(tmp_path / "folder", device="cpu")):
        assert torch.equal(again.model.image_tokenizer.encode(images), tokens)
        assert again("a red three on white paper", [0]).images[0].size == (6, 4)


def test_inside_a_model_it_is_frozen_evaluates_and_is_fitted_once():
    model = build(config(image_tokenizer={"type": "QuantizedAutoencoder", **trained_quantized()}), MODELS).train()
    assert isinstance(model, JEPAT)
    assert model.network.training
    assert not any(module.training for module in model.image_tokenizer.modules())
    assert not any(parameter.requires_grad for parameter in model.image_tokenizer.parameters())
    model.fit(smooth_images(64), CAPTIONS)
    model.image_tokenizer.checkpoint = "gone"
    model.fit(smooth_images(64, seed=1), CAPTIONS)  # as when training goes on
    assert sum(model.loss(smooth_images(4), CAPTIONS[:4]).values()).isfinite()


# Its training


@DATASETS.register_module(force=True)
class SmoothImages:
    """Smooth images for the runner."""

    def __init__(self, seed: int = 0):
        self.images, self.captions = smooth_images(40, seed=seed), ["grey"] * 40

    def __len__(self):
        return 40

    def __getitems__(self, indices):
        return {"inputs": self.images[indices], "data_samples": {"caption": ["grey"] * len(indices)}}


def training_config(work_dir, steps, quantizer="VQ"):
    cfg = tiny_config(work_dir, steps)
    cfg.model = {
        "type": "TokenizerTraining",
        "tokenizer": {"type": "QuantizedAutoencoder", **QUANTIZED, "quantizer": QUANTIZERS[quantizer]},
    }
    cfg.train_dataloader.dataset = {"type": "SmoothImages"}
    for hook in ("ema", "tokenizers"):
        cfg.default_hooks.pop(hook)
    cfg.test_dataloader = {
        "batch_size": 16,
        "num_workers": 0,
        "dataset": {"type": "SmoothImages", "seed": 1},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "keep_tiny"},
    }
    cfg.test_cfg, cfg.test_evaluator = {"type": "TestLoop"}, {"type": "ReconstructionMetric"}
    return cfg


@quantizers
def test_a_resumed_training_of_a_tokenizer_equals_an_unbroken_one(tmp_path, name):
    apply()
    whole = JEPATRunner.from_cfg(training_config(tmp_path / "whole", 6, name))
    whole.train()
    JEPATRunner.from_cfg(training_config(tmp_path / "parts", 3, name)).train()
    cfg = training_config(tmp_path / "parts", 6, name)
    cfg.resume, cfg.load_from = True, str(tmp_path / "parts" / "iter_3.pth")
    resumed = JEPATRunner.from_cfg(cfg)
    resumed.train()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    logged = whole.message_hub.log_scalars
    assert {"train/loss_reconstruction", "train/codes_used", "train/perplexity"} <= set(logged)
    assert logged["train/loss"].current() == pytest.approx(
        sum(log.current() for key, log in logged.items() if key.startswith("train/loss_"))
    )
    figures = whole.test()
    images = smooth_images(40, seed=1)
    tokenizer = whole.model.tokenizer
    with torch.no_grad():
        painted = tokenizer.decode(tokenizer.encode(images)).clamp(-1, 1)
        assert figures["mse"] == pytest.approx((painted - images).square().mean().item(), rel=1e-4)
        assert figures["codes_used"] == pytest.approx(
            len(tokenizer.ids(images).unique()) / tokenizer.codebook_size, rel=1e-4
        )


def test_only_what_has_a_loss_is_trained_this_way():
    with pytest.raises(UserError, match="PatchTokenizer isn't trained this way"):
        build(
            {"type": "TokenizerTraining", "tokenizer": {"type": "PatchTokenizer", "size": (4, 4), "patch": 2}}, MODELS
        )
    model = build({"type": "TokenizerTraining", "tokenizer": {"type": "QuantizedAutoencoder", **QUANTIZED}}, MODELS)
    with pytest.raises(UserError, match="mode is 'tensor'"):
        model(smooth_images(1), {"caption": ["a"]}, mode="tensor")

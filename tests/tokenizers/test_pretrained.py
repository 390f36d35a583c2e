"""Tokenizers whose weights come from elsewhere: files read as they are in the wild, or refused in one line."""

import json
import os
import shutil

import pytest
import torch
from ldm_reference import Reference, ldm_weights
from safetensors.torch import load_file, save_file
from tiny import CAPTIONS, PRETRAINED, SIZE, config, make_tokenizer, pretrained_kl, pretrained_vq, smooth_images

from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline
from jepa_t.registry import MODELS, build
from jepa_t.tokenizers.maps import to_maps

pretrained = pytest.mark.parametrize("name", PRETRAINED)
WEIGHTS = "diffusion_pytorch_model.safetensors"


def changed(tmp_path, name="KLTokenizer"):
    """A copy of the source, to be damaged."""
    source = (pretrained_kl if name == "KLTokenizer" else pretrained_vq)()["source"]
    return shutil.copytree(source, tmp_path / "changed")


def other_weights(tmp_path, name):
    """A copy of the source with one weight changed."""
    folder = changed(tmp_path, name)
    weights = load_file(folder / WEIGHTS)
    weights["post_quant_conv.bias"] += 0.25
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


# What is in the file is what is computed


def test_kl_tokens_are_the_scaled_mode_of_the_posterior():
    from diffusers import AutoencoderKL

    options = pretrained_kl()
    model, tokenizer = AutoencoderKL.from_pretrained(options["source"]), make_tokenizer("KLTokenizer")
    images = smooth_images(3)
    with torch.no_grad():
        latents = model.encode(images).latent_dist.mode()
        torch.testing.assert_close(tokenizer.decode(tokenizer.encode(images)), model.decode(latents).sample)
    scaled = (latents - model.config.shift_factor) * model.config.scaling_factor
    torch.testing.assert_close(to_maps(tokenizer.encode(images), tokenizer.grid, 1), scaled)
    other = make_tokenizer("KLTokenizer", scale=2.0, shift=0.5)
    torch.testing.assert_close(to_maps(other.encode(images), tokenizer.grid, 1), (latents - 0.5) * 2.0)
    torch.testing.assert_close(other.decode(other.encode(images)), tokenizer.decode(tokenizer.encode(images)))


def test_scales_of_each_channel_are_read_too(tmp_path):
    folder = changed(tmp_path)
    facts = json.loads((folder / "config.json").read_text())
    facts |= {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 4.0, 8.0], "scaling_factor": 0.5}
    (folder / "config.json").write_text(json.dumps(facts))
    plain = make_tokenizer("KLTokenizer", scale=1.0, shift=0.0)
    scaled = make_tokenizer("KLTokenizer", source=str(folder))
    images = smooth_images(2)
    latents = plain.encode(images)
    expected = (latents - torch.tensor(facts["latents_mean"])) * 0.5 / torch.tensor(facts["latents_std"])
    torch.testing.assert_close(scaled.encode(images), expected)


def test_a_posterior_sample_comes_from_the_seed_and_spreads_around_the_mode():
    mode, sample = make_tokenizer("KLTokenizer"), make_tokenizer("KLTokenizer", posterior="sample")
    images = smooth_images(1)
    torch.manual_seed(3)
    one, other = sample.encode(images), sample.encode(images)
    torch.manual_seed(3)
    assert torch.equal(sample.encode(images), one)
    assert not torch.equal(one, other)
    many = sample.encode(images.expand(4000, -1, -1, -1))
    posterior = sample.autoencoder.module.encode(images).latent_dist
    deviation = (posterior.std * sample.scale).flatten(2).transpose(1, 2)[0]
    assert ((many.mean(0) - mode.encode(images)[0]).abs() < 0.1 * deviation).all()
    torch.testing.assert_close(many.std(0), deviation, rtol=0.1, atol=0)


def test_vq_tokens_are_diffusers_codes():
    from diffusers import VQModel

    model, tokenizer = VQModel.from_pretrained(pretrained_vq()["source"]), make_tokenizer("VQTokenizer")
    images = smooth_images(5)
    with torch.no_grad():
        latents = model.encode(images).latents
        _, _, (_, _, ids) = model.quantize(latents)
        assert torch.equal(tokenizer.ids(images).flatten(), ids)
        painted = model.decode(latents).sample
        torch.testing.assert_close(tokenizer.decode(tokenizer.encode(images)), painted)


# LDM-style files


@pytest.mark.parametrize(
    ("key", "prefix", "suffix", "attention", "blocks"),
    [
        ("model", "", ".ckpt", (1,), 1),
        ("state_dict", "", ".pth", (), 2),
        (None, "first_stage_model.", ".pt", (0, 1), 1),
        (None, "", ".safetensors", (1,), 2),
    ],
)
def test_an_ldm_file_computes_what_ldm_computes(tmp_path, key, prefix, suffix, attention, blocks):
    weights = ldm_weights(blocks=blocks, attention=attention)
    named = {f"{prefix}{name}": value for name, value in weights.items()} | {"loss.logvar": torch.zeros(1)}
    path = tmp_path / f"kl{suffix}"
    if suffix == ".safetensors":
        save_file(named, path)
    else:
        torch.save({key: named, "epoch": 3} if key else named, path)
    tokenizer = make_tokenizer("KLTokenizer", source=str(path), size=(8, 12), scale=0.2325)
    assert (tokenizer.grid, tokenizer.stride, tokenizer.channels) == ((4, 6), 2, 4)
    images, reference = smooth_images(2, (8, 12)), Reference(weights)
    mode, log_variance = reference.encode(images)
    posterior = tokenizer.autoencoder.module.encode(images).latent_dist
    torch.testing.assert_close(posterior.logvar, log_variance, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(to_maps(tokenizer.encode(images), (4, 6), 1), 0.2325 * mode, atol=1e-4, rtol=1e-4)
    painted = tokenizer.decode(tokenizer.encode(images))
    torch.testing.assert_close(painted, reference.decode(mode), atol=1e-4, rtol=1e-4)


def test_a_file_says_no_scale(tmp_path):
    torch.save({"model": ldm_weights()}, tmp_path / "kl.ckpt")
    with pytest.raises(UserError, match=r"is a file, which says no scale; give scale=\.\.\."):
        make_tokenizer("KLTokenizer", source=str(tmp_path / "kl.ckpt"))


@pytest.mark.parametrize("harm", ["absent weight", "strange weight", "nothing of it", "truncated"])
def test_a_file_that_is_no_whole_autoencoder_is_told(tmp_path, harm):
    path, weights = tmp_path / "kl.ckpt", ldm_weights()
    if harm == "absent weight":
        weights.pop("decoder.mid.attn_1.k.weight")
    elif harm == "strange weight":
        weights["decoder.extra.weight"] = torch.zeros(3)
    elif harm == "nothing of it":
        weights = {"layer.weight": torch.zeros(3)}
    torch.save({"model": weights}, path)
    if harm == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"kl.ckpt' is (no LDM autoencoder|damaged)") as told:
        make_tokenizer("KLTokenizer", source=str(path), scale=1.0)
    assert "\n" not in str(told.value)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.makedirs, (self.target,)


def test_a_pickle_is_not_executed(tmp_path):
    path, target = tmp_path / "evil.ckpt", tmp_path / "owned"
    torch.save({"model": ldm_weights(), "hyper_parameters": Evil(str(target))}, path)
    with pytest.raises(UserError, match=r"refused: it calls '(posix|os)\.?[\w.]*makedirs'|refused: it calls"):
        make_tokenizer("KLTokenizer", source=str(path), scale=1.0)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()  # the file was dangerous indeed


# Folders


@pretrained
@pytest.mark.parametrize("harm", ["absent", "truncated", "absent weight", "bad config", "other"])
def test_a_folder_that_is_no_whole_tokenizer_is_told_in_one_line(tmp_path, name, harm):
    folder = changed(tmp_path, name)
    weights = folder / WEIGHTS
    if harm == "absent":
        folder = tmp_path / "nothing"
    elif harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:3000])
    elif harm == "absent weight":
        kept = load_file(weights)
        kept.pop("encoder.conv_in.weight")
        save_file(kept, weights, metadata={"format": "pt"})
    elif harm == "bad config":
        (folder / "config.json").write_text("{")
    else:
        folder = (pretrained_vq if name == "KLTokenizer" else pretrained_kl)()["source"]
    with pytest.raises(
        UserError, match=f"{name} source '.*' ?(: there is no such folder|.*can't be loaded|is no whole)"
    ) as told:
        make_tokenizer(name, source=str(folder))
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


@pretrained
def test_the_missing_library_is_named(name, monkeypatch):
    options = {"source": (pretrained_kl if name == "KLTokenizer" else pretrained_vq)()["source"]}
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(UserError, match=rf"{name} needs diffusers; pip install 'jepa_t\[pretrained\]'"):
        make_tokenizer(name, **options)


def test_wrong_options_are_told():
    with pytest.raises(UserError, match=r"unknown KLTokenizer posterior 'mean': .*choose from mode, sample"):
        make_tokenizer("KLTokenizer", posterior="mean")
    with pytest.raises(UserError, match="tokens of 2 x 2 pixels don't divide the image size 5 x 6"):
        make_tokenizer("KLTokenizer", size=(5, 6))
    for options in ({"scale": 0.0}, {"scale": -1.0}, {"scale": float("inf")}, {"shift": float("inf")}):
        (name,) = options
        with pytest.raises(UserError, match=f"KLTokenizer {name} is "):
            make_tokenizer("KLTokenizer", **options)


# Frozen, and outside of checkpoints


@pretrained
def test_its_weights_are_no_one_s_to_train_or_save(name):
    tokenizer = make_tokenizer(name).train()
    assert list(tokenizer.parameters()) == []
    assert not any(parameter.requires_grad for parameter in tokenizer.autoencoder.module.parameters())
    assert not any(module.training for module in tokenizer.autoencoder.module.modules())
    sizes = {key: value.numel() for key, value in tokenizer.state_dict().items()}
    assert sizes["autoencoder.sha256"] == 32
    assert sum(sizes.values()) < 50


@pretrained
def test_it_moves_with_the_model(name):
    tokenizer = make_tokenizer(name)
    tokenizer.to(torch.float64)
    assert all(p.dtype == torch.float64 for p in tokenizer.autoencoder.module.parameters())
    assert tokenizer.autoencoder.sha256.dtype == torch.uint8
    images = smooth_images(2).double()
    assert tokenizer.encode(images).dtype == torch.float64


@pretrained
def test_a_model_with_it_saves_its_hash_alone_and_refuses_another(tmp_path, name):
    options = {"type": name} | (pretrained_kl if name == "KLTokenizer" else pretrained_vq)()
    plain = config(image_tokenizer=options)
    model = build(plain, MODELS)
    model.fit(smooth_images(64), CAPTIONS)
    assert sum(model.loss(smooth_images(4), CAPTIONS[:4]).values()).isfinite()
    assert [key for key in model.state_dict() if "autoencoder" in key] == ["image_tokenizer.autoencoder.sha256"]
    torch.save({"state_dict": model.state_dict(), "meta": {"model": plain}}, tmp_path / "iter_1.pth")
    draw = Pipeline.from_pretrained(tmp_path / "iter_1.pth", device="cpu")
    assert draw(CAPTIONS[0], [0]).images[0].size == SIZE[::-1]
    draw.save_pretrained(tmp_path / "folder")
    assert Pipeline.from_pretrained(tmp_path / "folder", device="cpu")(CAPTIONS[0], [0]).images[0].size == SIZE[::-1]
    plain["image_tokenizer"] = options | {"source": str(other_weights(tmp_path, name))}
    with pytest.raises(
        UserError,
        match=r"was trained with the image tokenizer \w{12}\.\.\. .*, here it is \w{12}.*'.*changed' isn't the",
    ):
        Pipeline.from_pretrained(tmp_path / "iter_1.pth", plain, device="cpu")


# Moments, which a cache keeps


@pytest.mark.parametrize("posterior", ["sample", "mode"])
@pytest.mark.parametrize("patch", [1, 2])
def test_encoding_is_reading_the_moments(posterior, patch):
    tokenizer = make_tokenizer("KLTokenizer", posterior=posterior, patch=patch, size=(8, 12))
    images = smooth_images(3, (8, 12))
    moments = tokenizer.moments(images)
    assert list(moments.shape[1:]) == tokenizer.identity["shape"] == [8, 4, 6]
    torch.manual_seed(5)
    tokens = tokenizer.encode(images)
    torch.manual_seed(5)
    assert torch.equal(tokenizer.from_moments(moments), tokens)
    torch.manual_seed(5)
    torch.testing.assert_close(tokenizer.from_moments(moments.half()), tokens, rtol=2e-3, atol=2e-3)
    torch.manual_seed(5)
    latents = tokenizer.autoencoder.module.encode(images).latent_dist
    latents = latents.sample() if posterior == "sample" else latents.mode()  # diffusers' own sampling
    expected = (latents - tokenizer.shift) * tokenizer.scale
    torch.testing.assert_close(to_maps(tokens, tokenizer.grid, patch), expected)


def test_moments_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"moments are \[8, 4, 4\], the tokenizer has \[8, 2, 3\]"):
        make_tokenizer("KLTokenizer").from_moments(torch.zeros(1, 8, 4, 4))

"""Public checkpoints as ours: the same features and the same head, and nothing unaccounted for."""

import re
from dataclasses import replace

import pytest
import torch
from djepa_reference import Public, guidance_scales, public_file, text_features
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import generator
from tiny_text import saved

from jepa_t.conversion import convert_network
from jepa_t.errors import UserError
from jepa_t.masking import gather
from jepa_t.pipeline import Pipeline
from jepa_t.structures import Split, Text

TOKENS, CHANNELS, WIDTH = 4, 16, 32
CAPTIONS = {"djepa": ["goldfish", "a photo of a great white shark", "hen"], "jepat": ["red", "blue five", "nine"]}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
KINDS = {"djepa": {}, "djepa flow": {"flow": True}, "jepat": {"classes": 0, "text_width": 8, "flow": True}}


@pytest.fixture
def converted(tmp_path, sources):
    """Convert networks of a kind; gives the model."""

    def run(kind, *networks, prefix="", more=(), **options):
        name = kind.split()[0]
        path = public_file(tmp_path / "theirs.pth", *networks, prefix=prefix, **dict(more))
        convert_network(name, path, tmp_path / "ours.pth", **sources[name], **options)
        return Pipeline.from_pretrained(tmp_path / "ours.pth").model

    return run


def case(seed, visible, asked=None, batch=3):
    random = generator(seed)
    order = torch.rand(batch, TOKENS, generator=random).argsort(1)
    latents = torch.randn(batch, TOKENS, CHANNELS, generator=random)
    split = Split(order, visible, TOKENS - visible if asked is None else asked)
    masked = torch.ones(batch, TOKENS, dtype=torch.bool).scatter(1, split.visible, False)
    return latents, split, masked


def theirs(network, latents, masked, condition):
    features = network.features(latents, masked, condition)
    return network.fuse(features, condition) if hasattr(network, "fuse_proj") else features


def condition_of(network, model, captions):
    """Their condition for our captions."""
    if hasattr(network, "fuse_proj"):
        return network.class_emb(text_features(saved("open_clip"), captions))
    return network.class_emb(model.ema.text_tokenizer.ids(captions)[:, 0])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_features_are_theirs(converted, kind):
    network = Public(**KINDS[kind])
    model = converted(kind, network)
    captions = CAPTIONS[kind.split()[0]]
    text = model.ema.text_tokenizer(captions)
    for visible in range(TOKENS):
        latents, split, masked = case(visible, visible)
        ours = model.ema.condition(latents, split, text).condition
        expected = theirs(network, latents, masked, condition_of(network, model, captions))
        torch.testing.assert_close(ours, gather(expected, split.asked), **CLOSE)
    null = model.ema.condition(latents, split, model.ema.text_tokenizer.null(3)).condition
    expected = theirs(network, latents, masked, network.fake_latent.expand(3, -1))
    torch.testing.assert_close(null, gather(expected, split.asked), **CLOSE)
    assert (null - ours).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_head_is_theirs_at_every_time(converted, kind):
    network = Public(**KINDS[kind])
    model = converted(kind, network)
    flow = KINDS[kind].get("flow")
    times = torch.linspace(0, 1, 200) if flow else torch.arange(1000)
    x, z = torch.randn(len(times), CHANNELS), torch.randn(len(times), WIDTH)
    objective = model.ema.objectives["flow" if flow else "diffusion"]
    ours = objective.head(x, times if flow else times / 1000, z)
    torch.testing.assert_close(ours, network.diffloss.net(x, times, z), **CLOSE)
    assert (objective.head(x, times.flip(0) / (1 if flow else 1000), z) - ours).abs().max() > 1e-2


def test_the_feature_loss_is_carried_over(converted):
    network = Public()
    model, net = converted("djepa", network), network.jepaloss.net
    z = torch.randn(3, WIDTH)
    torch.testing.assert_close(model.network.objectives["feature"].mlp(z), net(z), **CLOSE)


def test_text_passes_the_norm_and_guidance_rises_as_theirs(converted):
    network = Public(**KINDS["jepat"], tokens=64)
    model = converted("jepat", network)
    assert model.ema.text_tokenizer.mlp[1].eps == network.class_emb[1].eps
    for steps in (64, 16):
        plan = replace(model.sampler, steps=steps)._plan(64)
        assert [step.guidance for step in plan] == pytest.approx(guidance_scales(64, steps, 3.0))


def test_a_converted_network_draws_by_the_names_of_classes(converted, tmp_path):
    network = Public()
    converted("djepa", network)
    pipeline = Pipeline.from_pretrained(tmp_path / "ours.pth")
    options = {"steps": 2, "draw": {"solver_steps": 2}}
    one, same_class, other = pipeline(["goldfish", "1", "hen"], [3, 3, 3], **options).images
    assert one.size == (32, 32)
    assert one.tobytes() == same_class.tobytes() != other.tobytes()
    with pytest.raises(UserError, match=r"unknown class in the caption 'goldfsh'.*did you mean 'goldfish'"):
        pipeline(["goldfsh"], [0])


# Which weights


def hashes(model):
    return [float(part.encoder.registers.detach().sum()) for part in (model.network, model.ema)]


@pytest.mark.parametrize(("weights", "which"), [(None, (0, 1)), ("raw", (0, 0)), ("ema", (1, 1))])
def test_network_and_average_are_raw_and_averaged_weights(converted, weights, which):
    networks = Public(), Public()
    found = hashes(converted("djepa", *networks, weights=weights))
    assert found == pytest.approx([float(networks[index].buffer.detach().sum()) for index in which])


def test_one_set_of_weights_serves_as_both_and_another_cannot_be_asked_for(converted):
    network = Public()
    assert hashes(converted("djepa", network)) == pytest.approx([float(network.buffer.detach().sum())] * 2)
    with pytest.raises(UserError, match="has no 'model_ema'; leave --ema out"):
        converted("djepa", network, weights="ema")


def test_compiled_names_half_precision_bare_files_and_command_lines_are_read(converted, tmp_path, sources):
    import argparse

    from safetensors.torch import save_file

    network = Public().bfloat16()
    expected = network.buffer.float()[0]
    more = {"args": argparse.Namespace(lr=1e-4)}
    model = converted("djepa", network, prefix="_orig_mod.", more=more)
    assert torch.equal(model.network.encoder.registers, expected)
    save_file(network.state_dict(), tmp_path / "theirs.safetensors")
    convert_network("djepa", str(tmp_path / "theirs.safetensors"), tmp_path / "bare.pth", **sources["djepa"])
    assert torch.equal(Pipeline.from_pretrained(tmp_path / "bare.pth").model.network.encoder.registers, expected)


# Strictness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", [False, True])
def test_every_tensor_is_in_the_account(tmp_path, sources, kind, backbone):
    network, name = Public(**KINDS[kind]), kind.split()[0]
    path = public_file(tmp_path / "theirs.pth", network, network)
    account = convert_network(name, path, tmp_path / "ours.pth", **({"backbone": True} if backbone else sources[name]))
    assert sum(row.used for row in account) == len(network.state_dict())
    saved_file = torch.load(tmp_path / "ours.pth", weights_only=True)
    state = saved_file["state_dict"]
    tokenizer = [key for key in state if key.startswith("image_tokenizer.")]
    assert sum(row.made for row in account) == len(tokenizer) + (len(state) - len(tokenizer)) / 2
    assert {"optimizer", "epoch"} <= {row.theirs for row in account}
    if backbone:
        fresh = {row.ours for row in account if row.note.startswith("starts from")}
        assert fresh == {"image_tokenizer", "text_tokenizer", "fusion", "objectives"}
        assert {key.split(".")[1] for key in state} == {"encoder", "predictor"}
        assert not any(key.startswith(tuple(saved_file["meta"]["starts_fresh"])) for key in state)


@pytest.mark.parametrize("backbone", [False, True])
@pytest.mark.parametrize("change", ["absent", "renamed", "shape", "more"])
@settings(max_examples=12)
@given(data=st.data())
def test_anything_out_of_place_is_told_in_one_line(tmp_path_factory, sources, backbone, change, data):
    kind = data.draw(st.sampled_from(["djepa", "jepat"]))
    folder = tmp_path_factory.mktemp("strict")
    state = Public(**KINDS[kind], depths=(1, 1)).state_dict()
    name = data.draw(st.sampled_from(sorted(state)))
    if backbone and change in ("absent", "shape") and not name.startswith(("z_", "enc", "dec", "buf", "mask")):
        return  # it is left out anyway
    if change == "absent":
        del state[name]
        if name.startswith("jepaloss"):
            return  # such as fc1, without which it isn't looked for
    elif change == "renamed":
        state[name + "s"] = state.pop(name)
    elif change == "more":
        state[name + "_extra"] = torch.ones(2)
    else:
        state[name] = torch.cat([state[name], state[name][:1]]) if len(state[name]) > 1 else state[name][:, :, None]
    torch.save({"model": state}, folder / "theirs.pth")
    options = {"backbone": True} if backbone else sources[kind]
    with pytest.raises(UserError) as caught:
        convert_network(kind, str(folder / "theirs.pth"), folder / "ours.pth", **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "ours.pth").exists()


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("djepa", {"names": "imagenet"}, "has 5 classes and --names 1000; give a file"),
        ("djepa", {"image_tokenizer": None}, "--image-tokenizer is missing"),
        ("jepat", {"text_encoder": None}, "--text-encoder is missing"),
        ("jepat", {"text_encoder": {"model": "ViT-B-33"}}, "unknown PooledText model 'ViT-B-33'"),
    ],
)
def test_a_wrong_option_is_told(tmp_path, sources, kind, options, says):
    path = public_file(tmp_path / "theirs.pth", Public(**KINDS[kind]))
    with pytest.raises(UserError, match=says):
        convert_network(kind, path, tmp_path / "ours.pth", **sources[kind] | options)


def test_a_checkpoint_of_another_kind_is_told(tmp_path, sources):
    path = public_file(tmp_path / "theirs.pth", Public())
    with pytest.raises(UserError, match="has no "):
        convert_network("jepat", path, tmp_path / "ours.pth", **sources["jepat"])
    torch.save({"model": {"weight": torch.ones(2)}}, path)
    with pytest.raises(UserError, match=r"has no z_proj\.weight; is it of D-JEPA"):
        convert_network("djepa", path, tmp_path / "ours.pth", **sources["djepa"])


# The rules


@pytest.mark.parametrize("kind", ["djepa", "djepa flow", "jepat"])
def test_no_number_is_lost_or_used_twice(converted, kind):
    """Every element of theirs, a number of its own, is an element of ours, once; but for products and sums."""
    network, count = Public(**KINDS[kind]), 0
    mixed = re.compile(r".*(q_norm|k_norm)\..*|fuse_proj\.weight")
    for name, parameter in network.named_parameters():
        numbers = torch.arange(count, count + parameter.numel(), dtype=torch.float32)
        parameter.data = (-numbers if mixed.fullmatch(name) else numbers + 1).view(parameter.shape)
        count += 0 if mixed.fullmatch(name) else parameter.numel()
    assert count < 2**24
    model = converted(kind, network)
    given_numbers = torch.cat([p.flatten() for n, p in network.named_parameters() if not mixed.fullmatch(n)])
    made = re.compile(r"fusion\.(encoder|context|objective|features\.norm)\..*|.*\.gain")
    ours = [p.flatten() for n, p in model.network.named_parameters() if not made.fullmatch(n)]
    if kind == "jepat":
        ours.append(model.network.fusion["objective"].proj.bias)
    assert torch.equal(torch.cat(ours).sort()[0], given_numbers.sort()[0])


def test_a_text_of_one_token_needs_no_queries(converted):
    """Why the gain and the norm of the public cross-attention, which it hasn't, may be anything."""
    network = Public(**KINDS["jepat"])
    fusion = converted("jepat", network).network.fusion["features"]
    x, c = torch.randn(2, 3, WIDTH), torch.randn(2, WIDTH)
    text = Text(c[:, None], torch.ones(2, 1, dtype=torch.bool), c)
    before = fusion(x, text)
    with torch.no_grad():
        fusion.attn.gain.fill_(7.0)
        fusion.norm.weight.fill_(3.0)
    torch.testing.assert_close(fusion(x, text), before)

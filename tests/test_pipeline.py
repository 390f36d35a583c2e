"""Captions in, images out: seeds, settings, files that are read safely, and captions that can't be drawn."""

import json
import os

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from jepa_t.engine.compat import save_checkpoint
from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline, contact_sheet, enlarge, to_image
from jepa_t.registry import MODELS, build

CONFIG = {
    "type": "JEPAT",
    "width": 16,
    "image_tokenizer": {"type": "PatchTokenizer", "size": [4, 4], "patch": 2},
    "text_tokenizer": {"type": "TransformerText", "width": 16, "depth": 1, "heads": 2, "length": 6},
    "encoder": {"type": "ContextEncoder", "depth": 1, "heads": 2, "registers": 2},
    "predictor": {"type": "Predictor", "depth": 1, "heads": 2},
    "objectives": {"flow": {"type": "FlowMatching", "head_width": 16, "head_depth": 1}},
    "sampler": {"steps": 2, "solver_steps": 3},
}
CAPTIONS = ["a red three", "a blue seven on white paper"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build(CONFIG, MODELS)
    model.fit(torch.rand(20, 3, 4, 4) * 2 - 1, CAPTIONS)
    for parameter in model.ema.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "iter_1.pth"
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": CONFIG}}, str(path))
    return path


def same(one, other):
    return np.array_equal(np.asarray(one), np.asarray(other))


def test_a_image_depends_on_caption_and_seed_alone(checkpoint):
    draw = Pipeline.load(checkpoint, device="cpu")
    one, two, again = draw([*CAPTIONS, CAPTIONS[0]], [5, 5, 5])
    assert one.size == (4, 4)
    assert same(one, again)
    assert not same(one, two)
    assert not same(one, draw(CAPTIONS[:1], [6])[0])
    near = np.abs(np.asarray(one, int) - np.asarray(draw(CAPTIONS[:1], [5])[0], int))
    assert near.max() <= 1


def test_batches_change_nothing(checkpoint):
    draw, sizes = Pipeline.load(checkpoint, device="cpu"), []
    whole = draw(CAPTIONS * 2, [1, 2, 3, 4])
    parts = draw(CAPTIONS * 2, [1, 2, 3, 4], batch_size=3, progress=sizes.append)
    assert sizes == [3, 1]
    for one, other in zip(whole, parts, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1


def test_options_reach_the_sampler(checkpoint):
    draw = Pipeline.load(checkpoint, device="cpu")
    plain = draw(CAPTIONS, [0, 1])
    assert draw.settings(guidance_scale=5.0)["guidance_scale"] == 5.0
    assert draw.settings(preset="fast", steps=3) == {
        "type": "MaskedSampler",
        "steps": 3,
        "solver_steps": (16, 8),
        "solver": "euler",
        "order": "halton",
        "guidance_schedule": "constant",
    }
    assert not same(plain[0], draw(CAPTIONS, [0, 1], guidance_scale=8.0)[0])
    assert same(plain[0], draw(CAPTIONS, [0, 1])[0])
    with pytest.raises(UserError, match="did you mean 'steps'"):
        draw(CAPTIONS, [0, 1], stepps=3)


def test_a_saved_folder_draws_the_same(checkpoint, tmp_path):
    draw = Pipeline.load(checkpoint, device="cpu")
    draw.save(tmp_path / "folder")
    assert sorted(os.listdir(tmp_path / "folder")) == ["config.json", "model.safetensors"]
    again = Pipeline.load(tmp_path / "folder", device="cpu")
    for one, other in zip(draw(CAPTIONS, [0, 1]), again(CAPTIONS, [0, 1]), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("damage", ["truncate", "remove", "config"])
def test_a_damaged_folder_is_told(checkpoint, tmp_path, damage):
    Pipeline.load(checkpoint, device="cpu").save(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "remove":
        weights.unlink()
    else:
        (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="holds no whole model"):
        Pipeline.load(tmp_path)


def test_a_file_names_no_code_of_its_own(model, tmp_path):
    target = tmp_path / "owned"
    evil = CONFIG | {"predictor": {"type": "os.makedirs", "name": str(target)}}
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": evil}}, str(tmp_path / "evil.pth"))
    with pytest.raises(UserError, match=r"os\.makedirs.*config file"):
        Pipeline.load(tmp_path / "evil.pth")
    assert not target.exists()


def test_a_config_of_another_width_is_told(checkpoint):
    with pytest.raises(UserError, match=r"belongs to another config: network\."):
        Pipeline.load(checkpoint, CONFIG | {"width": 32})


def test_a_tokenizer_s_checkpoint_draws_nothing(tmp_path):
    options = {"size": [4, 4], "stride": 2, "quantizer": {"name": "FSQ", "levels": [3, 3]}}
    plain = {"type": "TokenizerTraining", "tokenizer": {"type": "QuantizedAutoencoder", **options}}
    weights = build(plain, MODELS).state_dict()
    save_checkpoint({"state_dict": weights, "meta": {"model": plain}}, str(tmp_path / "a.pth"))
    with pytest.raises(UserError, match="holds a TokenizerTraining, which draws nothing"):
        Pipeline.load(tmp_path / "a.pth")


def test_a_checkpoint_without_config_needs_one(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(UserError, match="give the config file"):
        Pipeline.load(tmp_path / "bare.pth")
    assert Pipeline.load(tmp_path / "bare.pth", CONFIG, "cpu").model.ema.text_tokenizer.fitted


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        (7, "is a text"),
        ("red " * 500, "has 500 tokens and the model reads 6"),
        ("🦊", "no word that this model was trained on"),
        ("crimson numeral", "no word that this model was trained on"),
    ],
)
def test_captions_that_cannot_be_drawn(checkpoint, caption, says):
    with pytest.raises(UserError, match=says):
        Pipeline.load(checkpoint, device="cpu")([caption], [0])


def test_strange_words_are_named(checkpoint, caplog):
    Pipeline.load(checkpoint, device="cpu")(["a crimson three"], [0])
    assert "'crimson'" in caplog.text


def test_images_and_sheets():
    red = to_image(torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 2, 5))
    assert red.getpixel((4, 1)) == (255, 0, 0)
    large = enlarge(red, 9)
    assert large.size == (25, 10)
    sheet = contact_sheet([enlarge(red)] * 5, ["a very long caption that wraps over lines"] * 5)
    assert sheet.width > 4 * 320
    assert (np.asarray(sheet) == (255, 0, 0)).all(-1).sum() == 5 * 128 * 320


def test_a_config_is_plain_data(checkpoint):
    plain = Pipeline.load(checkpoint, device="cpu").config
    assert json.loads(json.dumps(plain)) == plain
    assert Config(plain).width == 16
    assert isinstance(Image.new("RGB", (1, 1)), Image.Image)

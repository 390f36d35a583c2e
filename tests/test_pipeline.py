"""Captions in, images out: seeds, options, files that are read safely, and what can't be drawn."""

import copy
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from jepa_t.engine.compat import save_checkpoint
from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline
from jepa_t.registry import MODELS, build
from jepa_t.sampling import PRESETS, MaskedSampler
from jepa_t.structures import Between

CONFIG = {
    "type": "JEPAT",
    "width": 16,
    "image_tokenizer": {"type": "PatchTokenizer", "size": [4, 4], "patch": 2},
    "text_tokenizer": {"type": "TransformerText", "width": 16, "depth": 1, "heads": 2, "length": 6},
    "encoder": {"type": "ContextEncoder", "depth": 1, "heads": 2, "registers": 2},
    "predictor": {"type": "Predictor", "depth": 1, "heads": 2},
    "objectives": {"flow": {"type": "FlowMatching", "head_width": 16, "head_depth": 1}},
    "sampler": {"steps": 2, "draw": {"solver_steps": 3}},
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


@pytest.fixture(scope="module")
def draw(checkpoint):
    return Pipeline.from_pretrained(checkpoint, device="cpu")


def pixels(drawing):
    return np.stack([np.asarray(image, int) for image in drawing.images])


# Captions, seeds and batches


def test_an_image_depends_on_caption_and_seed_alone(draw):
    images = pixels(draw([*CAPTIONS, CAPTIONS[0]], [5, 5, 5]))
    assert images.shape == (3, 4, 4, 3)
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], pixels(draw(CAPTIONS[0], [6]))[0])
    assert np.abs(images[0] - pixels(draw(CAPTIONS[0], [5]))[0]).max() <= 1  # a text alone is one caption


def test_batches_change_nothing(draw):
    sizes = []
    whole = pixels(draw(CAPTIONS * 2, [1, 2, 3, 4]))
    parts = pixels(draw(iter(CAPTIONS * 2), [1, 2, 3, 4], batch_size=3, progress=sizes.append))
    assert sizes == [3, 1]
    assert np.abs(whole - parts).max() <= 1


def test_a_drawing_says_what_it_depends_on(draw):
    drawing = draw(CAPTIONS, steps=1)
    assert drawing.captions == CAPTIONS
    assert drawing.sampler.steps == 1
    assert drawing.seeds != draw(CAPTIONS).seeds  # at random
    assert np.array_equal(pixels(draw(CAPTIONS, drawing.seeds, steps=1)), pixels(drawing))
    assert draw([]).images == []


@pytest.mark.parametrize("seeds", [np.array([3, 4]), torch.tensor([3, 4]), [np.int64(3), torch.tensor(4)], (3, 4)])
def test_seeds_are_read_from_numpy_and_pytorch_too(draw, seeds):
    drawing = draw(CAPTIONS, seeds)
    assert drawing.seeds == [3, 4]
    assert np.array_equal(pixels(drawing), pixels(draw(CAPTIONS, [3, 4])))
    between = [Between(seeds[0], seeds[1], 0.5)]
    assert np.array_equal(pixels(draw("a red", between)), pixels(draw("a red", [Between(3, 4, 0.5)])))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seeds": [0]}, "2 captions and 1 seeds; give one seed per caption"),
        ({"seeds": range(4), "batch_size": 1}, "2 captions and 4 seeds"),
        ({"negative": 5}, "negative is 5; give a text, or several"),
        ({"negative": b"a red"}, "negative is b'a red'; give a text, or several"),
        ({"callback": 5}, "callback is 5; give a function"),
        ({"trajectory": 1}, "trajectory is 1; Pipeline takes True or False"),
        ({"word_maps": "no"}, "word_maps is 'no'; Pipeline takes True or False"),
        ({"regions": {}}, "regions holds a dict; give pairs"),
        ({"progress": 5}, "progress is 5; give a function"),
        ({"seeds": 7}, "seeds is 7; give a list with one for each caption"),
        *(({"seeds": [0, s]}, f"the seed {s!r} is no whole number") for s in (-1, 2**32, 2**63, 1.5, True, "3", None)),
        *(({"batch_size": size}, f"batch_size is {size}; it must be a whole number") for size in (0, -1, 1.5)),
        ({"stepps": 3}, "did you mean 'steps'"),
        ({"draw": {"solver_stepps": 3}}, "did you mean 'solver_steps'"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_drawn(draw, options, says):
    with pytest.raises(UserError) as caught:
        draw(CAPTIONS, **{"progress": lambda _: pytest.fail("something was drawn")} | options)
    assert says in str(caught.value)


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
def test_captions_that_cannot_be_drawn(draw, caption, says):
    with pytest.raises(UserError, match=says):
        draw([CAPTIONS[0], caption], batch_size=1, progress=lambda _: pytest.fail("something was drawn"))


def test_strange_words_are_named(draw, caplog):
    draw("a crimson three")
    assert "'crimson'" in caplog.text


# The sampler


def test_options_change_the_model_s_own_sampler_for_one_call(draw, model):
    plain = pixels(draw(CAPTIONS, [0, 1]))
    for pipeline in (draw, Pipeline(model)):  # with a config and without
        assert pipeline.sampler() == MaskedSampler(**CONFIG["sampler"])
        assert pipeline.sampler(guidance_scale=5.0, steps=None) == MaskedSampler(
            **CONFIG["sampler"], guidance_scale=5.0
        )
        assert pipeline.sampler(preset="fast", steps=3) == MaskedSampler(**PRESETS["fast"] | {"steps": 3})
    assert not np.array_equal(plain, pixels(draw(CAPTIONS, [0, 1], guidance_scale=8.0)))
    assert np.array_equal(plain, pixels(draw(CAPTIONS, [0, 1])))


@pytest.mark.parametrize("name", ["sampler", "objective"])
@pytest.mark.parametrize("entrance", ["__call__", "stream", "interpolate"])
def test_a_whole_sampler_is_no_option(draw, entrance, name):
    says = f"^{name} is no option here; give preset='fast', or single options such as steps=16$"
    with pytest.raises(UserError, match=says):
        getattr(draw, entrance)(CAPTIONS[0], [0, 1][: 1 + (entrance == "interpolate")], **{name: "fast"})
    with pytest.raises(UserError, match=says):
        draw.sampler(**{name: "fast"})


def test_threads_share_a_pipeline_each_with_options_of_its_own(draw):
    """Eight threads got images of each other's options."""
    options = [{"guidance_scale": 1.0 + k, "steps": 1 + k % 4, "draw": {"solver_steps": 2 + k}} for k in range(8)]
    before = {name: value.clone() for name, value in draw.model.state_dict().items()}

    def run(chosen):
        return pixels(draw(CAPTIONS, [0, 1], **chosen))

    alone = [run(chosen) for chosen in options] * 3
    with ThreadPoolExecutor(8) as pool:
        assert all(map(np.array_equal, pool.map(run, options * 3), alone))
    assert all(torch.equal(value, before[name]) for name, value in draw.model.state_dict().items())
    assert draw.sampler() == MaskedSampler(**CONFIG["sampler"])


# Files


def test_a_saved_folder_draws_the_same_and_its_config_is_plain_data(draw, tmp_path):
    draw.save_pretrained(tmp_path / "folder")
    assert sorted(os.listdir(tmp_path / "folder")) == ["config.json", "model.safetensors"]
    again = Pipeline.from_pretrained(tmp_path / "folder", device="cpu")
    assert np.array_equal(pixels(draw(CAPTIONS, [0, 1])), pixels(again(CAPTIONS, [0, 1])))
    assert json.loads(json.dumps(draw.config)) == draw.config == again.config
    for config, says in ((None, "knows no config to save"), ({"type": Pipeline}, "is plain data: .* type is not")):
        with pytest.raises(UserError, match=says):
            Pipeline(draw.model, config).save_pretrained(tmp_path / "other")


@pytest.mark.parametrize("path", [None, 5, "x" * 300 + "/m", "a\0b"], ids=["none", "number", "long", "zero byte"])
def test_what_is_no_path_is_told(path):
    with pytest.raises(UserError, match=r"path is|no model at"):
        Pipeline.from_pretrained(path)


@pytest.mark.parametrize(
    ("folder", "dtype", "says"),
    [
        ("file", None, "can't be written: File exists"),
        ("/proc/x", None, "can't be written"),
        (None, None, "folder is ''"),
        ("new", torch.int8, r"dtype is torch\.int8; use torch\.float32"),
        ("new", "float16", "dtype is 'float16'; use"),
    ],
)
def test_a_folder_that_cannot_be_written_and_a_precision_that_ruins_are_told(draw, tmp_path, folder, dtype, says):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=says):
        draw.save_pretrained(tmp_path / folder if folder else "", dtype)
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(UserError, match="card is 'words'; give a Card"):
        draw.save_pretrained(tmp_path / "new", card="words")
    with pytest.raises(UserError, match="device is None; give 'auto'"):
        Pipeline.from_pretrained("emoji", device=None)


def test_a_weight_that_half_precision_does_not_hold_is_told(draw, tmp_path):
    large = copy.deepcopy(draw)
    next(large.model.ema.encoder.parameters()).data[0] = 1e6
    with pytest.raises(UserError, match=r"ema\.encoder\.\S+ holds numbers that torch\.float16 doesn't"):
        large.save_pretrained(tmp_path, torch.float16)
    assert os.listdir(tmp_path) == []
    large.save_pretrained(tmp_path, torch.bfloat16)


def test_the_model_that_comes_along_can_be_pickled_and_refuses_a_foreign_tokenizer_still():
    whole = Pipeline.from_pretrained("emoji", device="cpu")
    again = pickle.loads(pickle.dumps(whole))
    assert np.array_equal(pixels(whole("a fox", [0], steps=1)), pixels(again("a fox", [0], steps=1)))
    state = whole.model.state_dict()
    levels = {"image_tokenizer.levels": state["image_tokenizer.levels"] + 1}
    with pytest.raises(UserError, match=r"trained with FSQ levels \(9, 9, 9, 7, 6\), here it is \(8, 8, 8, 6, 5\)"):
        again.model.load_state_dict(state | levels)


@pytest.mark.parametrize("damage", ["truncate", "remove", "config"])
def test_a_damaged_folder_is_told(draw, tmp_path, damage):
    draw.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "remove":
        weights.unlink()
    else:
        (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="holds no whole model"):
        Pipeline.from_pretrained(tmp_path)


def test_a_file_names_no_code_of_its_own(model, tmp_path):
    target = tmp_path / "owned"
    evil = CONFIG | {"predictor": {"type": "os.makedirs", "name": str(target)}}
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": evil}}, str(tmp_path / "evil.pth"))
    with pytest.raises(UserError, match=r"os\.makedirs.*config file"):
        Pipeline.from_pretrained(tmp_path / "evil.pth")
    assert not target.exists()


def test_a_config_of_another_width_is_told(checkpoint):
    with pytest.raises(UserError, match=r"belongs to another config: network\."):
        Pipeline.from_pretrained(checkpoint, CONFIG | {"width": 32})


def test_a_tokenizer_s_checkpoint_draws_nothing(tmp_path):
    options = {"size": [4, 4], "stride": 2, "quantizer": {"name": "FSQ", "levels": [3, 3]}}
    plain = {"type": "TokenizerTraining", "tokenizer": {"type": "QuantizedAutoencoder", **options}}
    weights = build(plain, MODELS).state_dict()
    save_checkpoint({"state_dict": weights, "meta": {"model": plain}}, str(tmp_path / "a.pth"))
    with pytest.raises(UserError, match="holds a TokenizerTraining, which draws nothing"):
        Pipeline.from_pretrained(tmp_path / "a.pth")


def test_a_checkpoint_without_config_needs_one(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(UserError, match="give the config file"):
        Pipeline.from_pretrained(tmp_path / "bare.pth")
    assert Pipeline.from_pretrained(tmp_path / "bare.pth", CONFIG, "cpu").model.ema.text_tokenizer.fitted

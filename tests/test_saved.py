"""Trained models as files: hostile ones are refused in a line, in bounded time and memory."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import config, make_model

from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline
from jepa_t.saved import load_model

PLAIN = config()


@pytest.fixture
def folder(tmp_path):
    Pipeline(make_model(), PLAIN).save_pretrained(tmp_path)
    return tmp_path


def test_the_folder_gives_the_model_back(folder):
    model, plain = load_model(folder)
    assert plain == json.loads(json.dumps(PLAIN))
    assert all(
        torch.equal(value, make_model().ema.state_dict()[name]) for name, value in model.ema.state_dict().items()
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder": PLAIN["encoder"] | {"depth": 1000}}, "asks for far more memory than its weights have"),
        ({"encoder": PLAIN["encoder"] | {"depth": 10**7}}, "depth is 10000000; it must be at most 1000"),
        ({"encoder": PLAIN["encoder"] | {"registers": 10**8}}, "asks for far more memory than its weights have"),
        ({"width": 10**7}, "width|memory|alloc"),
        ({"type": ["JEPAT"]}, r"unknown component \['JEPAT'\]"),
        ({"fusion": {"features": {"type": "os.system"}}}, "unknown component 'os.system'"),
        ({"text_tokenizer": {"type": {"type": "JEPAT"}}}, "unknown component"),
        ({"sampler": {"draw": {"solver": "os.system"}}}, "unknown component 'os.system'"),
        ({"sampler": {"order": "os.system"}}, "unknown component 'os.system'"),
    ],
)
def test_a_hostile_config_is_refused_in_a_line(folder, changes, says):
    (folder / "config.json").write_text(json.dumps(PLAIN | changes))
    with pytest.raises(UserError, match=says) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_config_nested_without_end_is_refused(folder):
    (folder / "config.json").write_text("[" * 50_000 + "]" * 50_000)
    with pytest.raises(UserError, match="holds no whole model"):
        load_model(folder)


def test_weights_of_whole_numbers_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    name = "ema.encoder.registers"
    save_file(weights | {name: weights[name].to(torch.int8)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"registers is of torch\.int8, not of torch\.float32"):
        load_model(folder)

"""What the preparing and measuring hooks leave behind."""

import json
from types import SimpleNamespace

import pytest
import torch
from engine_fakes import TinyData, TinyModel, tiny_config, train
from mmengine.logging import MessageHub

from jepa_t.data.sets import HoldsTokens, check_inputs
from jepa_t.engine.hooks import HoldTokensHook
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint
from jepa_t.registry import DATASETS
from jepa_t.tokenizers import KLTokenizer


def scalars(work_dir):
    (file,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_tokenizer_is_fitted_on_the_training_images(tmp_path):
    runner = train(tmp_path, 1)
    assert runner.model.image_tokenizer.fitted
    assert runner.model.image_tokenizer.mean == pytest.approx(0.0, abs=1e-6)


@DATASETS.register_module(force=True)
class ScaledData(TinyData):
    """Flat images, in the range that a user chose."""

    def __init__(self, images, fitted_on):
        super().__init__()
        self.images, self.given = (self.images if fitted_on == "others" else images), images

    def __getitems__(self, indices):
        return super().__getitems__(indices) | {"inputs": self.given}


@pytest.mark.parametrize("fitted_on", ["these", "others"])
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.linspace(0, 255, 96).view(2, 3, 4, 4), r"gives images from 0 to 255; scale them to \[-1, 1\]"),
        (torch.full((2, 3, 4, 4), -1.01), "gives images from -1.01 to -1.01"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "gives images of type torch.uint8; give a tensor of floats"),
        (torch.full((2, 3, 4, 4), torch.nan), "gives NaN or infinity"),
    ],
)
def test_images_that_are_no_floats_from_minus_one_to_one_are_told_before_step_1(tmp_path, images, says, fitted_on):
    loader = tiny_config("").train_dataloader.to_dict()
    data = {"type": "ScaledData", "images": images, "fitted_on": fitted_on}
    with pytest.raises(UserError, match=f"^train_dataloader.dataset, ScaledData, {says}"):
        train(tmp_path, train_dataloader=loader | {"dataset": data}, custom_hooks=[{"type": "RehearsalHook"}])


def test_inputs_may_be_rounded_or_finite_latents():
    check_inputs("data", torch.full((2, 3, 4, 4), 1.0005))
    check_inputs("data", {"moments": torch.full((2, 8, 4, 4), -30.0)})
    with pytest.raises(UserError, match="data gives NaN or infinity"):
        check_inputs("data", {"moments": torch.full((2, 8, 4, 4), torch.inf)})


def test_tokens_are_computed_once_and_held_in_their_images_order():
    class Images(HoldsTokens):
        images = torch.arange(10.0)[:, None, None, None]

        def __len__(self):
            return 10

        def __getitems__(self, indices):
            raise AssertionError

        def hold(self, tokens):
            self.tokens = tokens

    class Tokenizer(torch.nn.Module):
        grid, channels = (1, 1), 1

        def encode(self, images):
            assert len(images) <= 4
            return images.flatten(1)[:, None] + 1

    model = torch.nn.Linear(1, 1)
    model.image_tokenizer = Tokenizer()
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=Images()), model=model)
    HoldTokensHook(at_once=4).before_train(runner)
    assert torch.equal(runner.train_dataloader.dataset.tokens, torch.arange(1.0, 11)[:, None, None])
    runner.train_dataloader.dataset = object()
    with pytest.raises(UserError, match="object can't hold tokens"):
        HoldTokensHook().before_train(runner)
    runner.train_dataloader.dataset, model.image_tokenizer = Images(), object.__new__(KLTokenizer)  # without diffusers
    torch.nn.Module.__init__(model.image_tokenizer)
    model.image_tokenizer.posterior = "sample"
    with pytest.raises(UserError, match="holds one draw of each image; set image_tokenizer"):
        HoldTokensHook().before_train(runner)
    with pytest.raises(UserError, match="HoldTokensHook at_once is 0"):
        HoldTokensHook(at_once=0)


def test_the_log_holds_the_mean_loss_since_the_line_before(tmp_path, monkeypatch):
    losses = iter([1.0, 3.0, 5.0, 7.0])

    def forward(self, inputs, data_samples, mode):
        return {"loss_flow": self.network(inputs.mean((2, 3))).sum() * 0 + next(losses)}

    monkeypatch.setattr(TinyModel, "forward", forward)
    visualizer = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]}
    train(tmp_path, 4, visualizer=visualizer)
    lines = scalars(tmp_path)
    assert [line["loss_flow"] for line in lines] == [2.0, 6.0]
    assert all({"lr", "grad_norm", "ema_decay", "images_per_second", "time"} <= line.keys() for line in lines)


def test_the_checkpoint_carries_the_training_time_across_a_resume(tmp_path):
    train(tmp_path, 3)
    checkpoint = load_checkpoint(str(tmp_path / "iter_3.pth"))
    first = checkpoint["meta"]
    assert 0 < first["train_seconds"] < 100
    first["train_seconds"] += 1000
    torch.save(checkpoint, tmp_path / "iter_3.pth")
    train(tmp_path, 6, resume=True, load_from=str(tmp_path / "iter_3.pth"))
    second = load_checkpoint(str(tmp_path / "iter_6.pth"))["meta"]
    assert (first["train_steps"], second["train_steps"]) == (3, 6)
    assert first["train_seconds"] < second["train_seconds"] < 1100


def test_fine_tuning_starts_the_clock_anew(tmp_path):
    train(tmp_path / "a", 3)
    runner = train(tmp_path / "b", 3, load_from=str(tmp_path / "a" / "iter_3.pth"))
    assert runner.checkpoint_meta["train_steps"] == 3
    started = load_checkpoint(str(tmp_path / "b" / "iter_3.pth"))["meta"]
    assert started["train_steps"] == 3
    assert torch.is_tensor(runner.model.ema[0].weight)


def test_a_pause_leaves_the_time_left(tmp_path, monkeypatch):
    """Steps of a second, and one that an hour passes before."""
    now, step, left = [0.0], TinyModel.train_step, []
    monkeypatch.setattr("jepa_t.engine.hooks.time.perf_counter", lambda: now[0])

    def timed(self, *args, **kwargs):
        now[0] += 3600 if self.steps == 5 else 1
        return step(self, *args, **kwargs)

    monkeypatch.setattr(TinyModel, "train_step", timed)
    monkeypatch.setattr(MessageHub, "update_info", lambda _, key, value, **__: left.append((key, value)))
    train(tmp_path, 10)
    assert [value for key, value in left if key == "eta"] == [8, 6, 4, 2, 0]

"""Steps, batches and samples: what a step holds, what follows from it, and where a resume goes on."""

import json

import pytest
import torch
from engine_fakes import TinyData, train
from shared_training import train as train_small
from shared_training import write_configs
from torch import nn

from jepa_t.engine.ema import warmed_decay
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint
from jepa_t.registry import DATASETS


def wrapper(accumulated=1, lr=0.01):
    optimizer = {"type": "SGD", "lr": lr}
    return {"type": "GuardedOptimWrapper", "optimizer": optimizer, "accumulative_counts": accumulated} | {
        "constructor": "TaggedGroups"
    }


def loader(**changes):
    parts = {"dataset": {"type": "TinyData"}, "sampler": {"type": "SeededSampler"}, "collate_fn": {"type": "keep_tiny"}}
    return {"num_workers": 0} | parts | changes


def shared(total, accumulated=1, **changes):
    """A run whose config says the samples of a step."""
    train_cfg = {"type": "TrainLoop", "max_iters": 4, "total_batch": total}
    quiet = {"type": "TinyModel", "noise": 0.0}
    options = {"train_cfg": train_cfg, "train_dataloader": loader(), "optim_wrapper": wrapper(accumulated)}
    return {"model": quiet} | options | changes


def test_accumulated_batches_equal_one_whole(tmp_path):
    whole = train(tmp_path / "a", **shared(6))
    parts = train(tmp_path / "b", **shared(6, accumulated=3))
    assert (whole.train_loop.dataloader.batch_size, parts.train_loop.dataloader.batch_size) == (6, 2)
    assert whole.train_loop.iter == parts.train_loop.iter == 4
    assert whole.train_loop.samples == parts.train_loop.samples == 24
    assert whole.train_dataloader.dataset.read == parts.train_dataloader.dataset.read
    for one, other in zip(whole.model.state_dict().values(), parts.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_log_counts_whole_steps(tmp_path):
    visualizer = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]}
    lines = {}
    for accumulated in (1, 3):
        folder = tmp_path / str(accumulated)
        train(folder, **shared(6, accumulated, visualizer=visualizer))
        (file,) = folder.glob("*/vis_data/scalars.json")
        lines[accumulated] = [json.loads(line) for line in file.read_text().splitlines()]
    for one, other in zip(lines[1], lines[3], strict=True):
        for name in ("loss", "loss_flow", "lr", "grad_norm", "ema_decay", "step"):
            assert one[name] == pytest.approx(other[name], rel=1e-4), name


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch.compile's
def test_everything_together_resumes_bit_for_bit_and_averages_once_a_step(tmp_path, monkeypatch):
    compile_with = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_with(self, backend="eager"))
    write_configs(tmp_path)
    options = "model.compile=True", "model.encoder.checkpointing=True", "model.predictor.checkpointing=True"
    options += "optim_wrapper.accumulative_counts=3", "optim_wrapper.precision=bf16", "model.encoder.dropout=0.1"
    options += ("default_hooks.checkpoint.interval=1",)
    config = tmp_path / "flow.py"
    train_small(config, tmp_path / "whole", 4, options=options)
    train_small(config, tmp_path / "parts", 4, tmp_path / "whole" / "iter_2.pth", options)
    states = [load_checkpoint(str(tmp_path / "whole" / f"iter_{n}.pth")) for n in (1, 2, 3, 4)]
    resumed = load_checkpoint(str(tmp_path / "parts" / "iter_4.pth"))
    assert [state["meta"]["train_samples"] for state in states] == [12, 24, 36, 48]
    assert resumed["meta"]["train_samples"] == 48
    for name, value in states[-1]["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    for step in (2, 3, 4):
        before, now = (state["state_dict"] for state in states[step - 2 : step])
        for name in [name for name in now if name.startswith("network.encoder.")]:
            average = name.replace("network.", "ema.", 1)
            expected = torch.lerp(before[average], now[name], 1 - warmed_decay(0.998, step))
            torch.testing.assert_close(now[average], expected)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (shared(7, accumulated=2), "total_batch is 7, .* 1 processes times 2 .* use 8,"),
        (shared(6, train_dataloader=loader(batch_size=6)), "say the same"),
        (shared(0), "total_batch is 0"),
        (shared(6, accumulated=0), "accumulative_counts is 0"),
        (shared(6, auto_scale_lr={"enable": True}), "base_batch_size is None"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path, **changes)


def test_the_learning_rate_follows_the_samples_of_a_step(tmp_path, said):
    scale = {"enable": True, "base_batch_size": 3}
    runner = train(tmp_path, **shared(12, 2, auto_scale_lr=scale, param_scheduler=None, log_level="INFO"))
    assert [group["lr"] for group in runner.optim_wrapper.optimizer.param_groups] == [0.04, 0.04]
    (line,) = [line for line in said if line.startswith("a step: ")]
    assert "12 samples = 1 processes x 6 a batch x 2 accumulated; learning rate 0.04 = 0.01 x 12 / 3" in line


def test_a_resume_with_other_steps_keeps_its_place_and_says_so(tmp_path, said):
    train(tmp_path, **shared(6))
    more = {"resume": True, "load_from": str(tmp_path / "iter_4.pth"), "log_level": "INFO"}
    train_cfg = {"type": "TrainLoop", "max_iters": 6, "total_batch": 4}
    runner = train(tmp_path, **shared(6, **more) | {"train_cfg": train_cfg})
    assert any("steps held 6 samples and now hold 4" in line for line in said)
    assert runner.train_loop.samples == 4 * 6 + 2 * 4
    whole = train(tmp_path / "b", **shared(8))
    assert runner.train_dataloader.dataset.read == whole.train_dataloader.dataset.read[24:32]


@DATASETS.register_module(force=True)
class CountedData(TinyData):
    """Writes down in a file what is read, in whatever process."""

    def __init__(self, file: str):
        super().__init__()
        self.file = file

    def __getitems__(self, indices):
        with open(self.file, "a") as file:
            file.write("".join(f"{index}\n" for index in indices))
        return super().__getitems__(indices)


def test_workers_read_nothing_of_what_a_resume_skips(tmp_path):
    reads = tmp_path / "reads"
    data = loader(dataset={"type": "CountedData", "file": str(reads)}, num_workers=1, prefetch_factor=2)
    train(tmp_path, **shared(2))
    whole = train(tmp_path / "whole", **shared(10)).train_dataloader.dataset.read
    more = {"resume": True, "load_from": str(tmp_path / "iter_4.pth")}
    train_cfg = {"type": "TrainLoop", "max_iters": 6, "total_batch": 2}
    train(tmp_path, **shared(2, train_dataloader=data, **more) | {"train_cfg": train_cfg})
    read = [int(line) for line in reads.read_text().split()]
    assert 4 <= len(read) <= 8  # two steps, and what the worker fetched ahead
    assert read == whole[8 : 8 + len(read)]

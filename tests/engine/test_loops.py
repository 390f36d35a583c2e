"""Where a training goes on, also after a killed process, and a step that fails well."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from engine_fakes import ENV, TinyData, assert_same, tiny_config, train

from jepa_t.engine.loops import seed_batch
from jepa_t.engine.optim import GuardedOptimWrapper
from jepa_t.errors import UserError
from jepa_t.files import find_checkpoint, load_checkpoint


def test_a_resume_reads_no_batch_twice(tmp_path):
    train(tmp_path, 4)
    runner = train(tmp_path, 6, resume=True, load_from=str(tmp_path / "iter_4.pth"))
    assert len(runner.train_dataloader.dataset.read) == 2 * 3


def test_a_resume_restores_the_average_and_the_fitted_tokenizer(tmp_path, monkeypatch):
    train(tmp_path, 4)
    monkeypatch.setattr(TinyData, "images", None, raising=False)
    runner = train(tmp_path, 4, resume=True, load_from=str(tmp_path / "iter_4.pth"))
    assert runner.model.image_tokenizer.fitted
    saved = load_checkpoint(str(tmp_path / "iter_4.pth"))["state_dict"]
    assert torch.equal(saved["ema.0.weight"], runner.model.ema[0].weight)


def test_after_kill_9_a_resume_reaches_the_same_weights(tmp_path):
    train(tmp_path / "whole", 40)
    code = (
        "import time, sys; from engine_fakes import TinyModel, train\n"
        "step = TinyModel.train_step\n"
        "TinyModel.train_step = lambda *a, **k: (time.sleep(0.05), step(*a, **k))[1]\n"
        "train(sys.argv[1], 40)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "cut")], env=ENV)
    pointer = tmp_path / "cut" / "last_checkpoint"
    deadline = time.monotonic() + 180  # importing takes a minute beside busy neighbours
    while not pointer.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    newest = find_checkpoint(str(tmp_path / "cut"))
    train(tmp_path / "cut", 40, resume=True, load_from=newest)
    assert_same(tmp_path / "whole" / "iter_40.pth", tmp_path / "cut" / "iter_40.pth")


def test_a_bad_number_names_the_step_the_captions_and_the_way_back(tmp_path):
    with pytest.raises(UserError) as caught:
        train(tmp_path, 9, model={"type": "TinyModel", "poison": 5})
    text = str(caught.value)
    assert "step 5: the loss is nan" in text
    assert "grey" in text
    assert "iter_3.pth" in text
    assert "\n" not in text


def test_what_a_gpu_met_is_told_before_a_checkpoint_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(GuardedOptimWrapper, "deferred", property(lambda _: True, lambda *_: None), raising=False)
    hooks = tiny_config(tmp_path, 8).default_hooks
    hooks.logger.interval = 100  # so that no log line tells before
    for poison, kept in ((5, "iter_3.pth"), (7, "iter_6.pth")):
        with pytest.raises(UserError, match=f"the loss is nan in one of the last . steps, so .*{kept}"):
            train(tmp_path / str(poison), 8, model={"type": "TinyModel", "poison": poison}, default_hooks=hooks)
        assert (tmp_path / str(poison) / "last_checkpoint").read_text() == kept


def test_each_step_and_process_has_its_own_randomness():
    def draws(*key):
        seed_batch(*key)
        return torch.rand(()).item(), np.random.rand()

    first = draws(0, 5, 0)
    torch.rand(7)
    assert draws(0, 5, 0) == first
    assert len({draws(seed, step, rank) for seed in (0, 1) for step in (0, 1) for rank in (0, 1)}) == 8


def test_wrong_lengths_and_samplers_are_told(tmp_path):
    with pytest.raises(UserError, match="max_iters is 0"):
        train(tmp_path, 0)
    loader = {
        "batch_size": 3,
        "num_workers": 0,
        "dataset": {"type": "TinyData"},
        "sampler": {"type": "InfiniteSampler"},
        "collate_fn": {"type": "keep_tiny"},
    }
    with pytest.raises(UserError, match="SeededSampler"):
        train(tmp_path, 2, train_dataloader=loader)

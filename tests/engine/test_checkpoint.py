"""Which checkpoints stay, where the pointer points, and how a signal ends a training."""

import multiprocessing
import os
import signal
import subprocess
import time

import pytest
from engine_fakes import TinyModel, assert_same, plain, tiny_config, train
from mmengine.hooks import Hook

from jepa_t.engine import SafeCheckpointHook
from jepa_t.engine.checkpoint import Interrupted
from jepa_t.errors import UserError
from jepa_t.files import find_checkpoint, load_checkpoint
from jepa_t.registry import HOOKS


def test_the_newest_stay_and_the_pointer_names_the_last(tmp_path):
    train(tmp_path, 10)
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["iter_10.pth", "iter_9.pth"]
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "iter_10.pth")


def test_a_moved_work_dir_still_resumes(tmp_path):
    train(tmp_path / "old", 3)
    (tmp_path / "old").rename(tmp_path / "new")
    found = find_checkpoint(str(tmp_path / "new"))
    train(tmp_path / "new", 6, resume=True, load_from=found)
    assert (tmp_path / "new" / "iter_6.pth").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(tmp_path, monkeypatch, number):
    step = TinyModel.train_step

    def interrupted(self, *args, **kwargs):
        outputs = step(self, *args, **kwargs)
        if self.steps == 4:
            os.kill(os.getpid(), number)
        return outputs

    monkeypatch.setattr(TinyModel, "train_step", interrupted)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"step 4; saved .*iter_4\.pth"):
        train(tmp_path, 10)
    assert signal.getsignal(number) is before
    assert load_checkpoint(find_checkpoint(str(tmp_path)))["meta"]["iter"] == 4


def test_signals_are_given_back_whatever_ends_a_training(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match="step 2"):
        train(tmp_path, model={"type": "TinyModel", "poison": 2})
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@HOOKS.register_module(force=True)
class StopsAtFive(Hook):
    priority = "LOWEST"  # after the checkpoint of the step

    def after_train_iter(self, runner, batch_idx, **_):
        runner.train_loop.stop_training = batch_idx == 4


def test_a_training_that_a_hook_ends_early_is_saved_and_goes_on(tmp_path):
    hooks = {"custom_hooks": [{"type": "StopsAtFive"}]}
    train(tmp_path / "parts", 9, **hooks)
    file = tmp_path / "parts" / "iter_5.pth"
    assert find_checkpoint(str(file.parent)) == str(file)
    assert load_checkpoint(str(file))["meta"]["iter"] == 5
    train(tmp_path / "parts", 9, resume=True)
    train(tmp_path / "whole", 9)
    assert_same(*(tmp_path / name / "iter_9.pth" for name in ("parts", "whole")))


@HOOKS.register_module(force=True)
class SavesAtTwo(Hook):
    def after_train_iter(self, runner, batch_idx, **_):
        if batch_idx == 1:
            runner.save_checkpoint(runner.work_dir, "mine.pth", by_epoch=False)


def test_a_checkpoint_of_ones_own_says_its_step(tmp_path):
    train(tmp_path, 3, custom_hooks=[{"type": "SavesAtTwo"}])
    assert load_checkpoint(str(tmp_path / "mine.pth"))["meta"]["iter"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_to_the_workers_too_saves_all_the_same(tmp_path, monkeypatch, number):
    """As a terminal, torchrun and slurm send it."""
    step = TinyModel.train_step

    def interrupted(self, *args, **kwargs):
        if self.steps == 3:
            (worker,) = multiprocessing.active_children()
            subprocess.run(["kill", f"-{number:d}", str(worker.pid), str(os.getpid())], check=True)
            time.sleep(0.2)  # for the news of the worker's end
        return step(self, *args, **kwargs)

    monkeypatch.setattr(TinyModel, "train_step", interrupted)
    loader = tiny_config(tmp_path).train_dataloader.to_dict() | {"num_workers": 1}
    with pytest.raises(Interrupted, match=r"step 4; saved .*iter_4\.pth"):
        train(tmp_path, 10, train_dataloader=loader)


def test_what_an_earlier_training_did_later_goes_first(tmp_path):
    train(tmp_path, 8)
    hooks = tiny_config(tmp_path).default_hooks
    hooks.checkpoint.interval = 2
    train(tmp_path, 7, resume=True, load_from=str(tmp_path / "iter_6.pth"), default_hooks=hooks)
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["iter_6.pth", "iter_7.pth"]


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": 1.5}, {"interval": 1, "max_keep_ckpts": 0}])
def test_numbers_below_one_are_refused(options):
    with pytest.raises(UserError, match="must be a whole number of at least 1"):
        SafeCheckpointHook(**options)


def test_weights_of_another_model_are_named(tmp_path):
    train(tmp_path, 3)
    wide = {"type": "TinyModel", "width": 8}
    with pytest.raises(UserError, match=r"network\.0\.weight is \[4, 3\] there and \[8, 3\] here"):
        train(tmp_path / "b", 3, model=wide, load_from=str(tmp_path / "iter_3.pth"))
    assert tiny_config(tmp_path).model.type == "TinyModel"


def test_a_training_begins_with_the_weights_of_a_work_dir(tmp_path):
    still = {"type": "GuardedOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}}
    first = train(tmp_path / "a", 3)
    second = train(tmp_path / "b", 1, load_from=str(tmp_path / "a"), optim_wrapper=still)
    assert plain(second.model.network.state_dict()) == plain(first.model.network.state_dict())
    with pytest.raises(UserError, match=r"load_from: no checkpoint in .*absent.*train first"):
        train(tmp_path / "c", 1, load_from=str(tmp_path / "absent"))

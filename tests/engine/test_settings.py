"""Settings that a resume meets: a changed one acts on the weights, is refused, or is said."""

import inspect

import pytest
from engine_fakes import tiny_config, train
from mmengine.config import Config
from mmengine.runner import Runner

from jepa_t.changes import differences
from jepa_t.engine import JEPATRunner, apply
from jepa_t.engine.components import OWN_KEYS
from jepa_t.engine.resume import SETTINGS, settings
from jepa_t.errors import UserError
from jepa_t.files import checkpoints, load_checkpoint

CHANGES = {  # for each key of a small training, another value
    "model.type": "BaseModel",
    "train_dataloader.batch_size": 4,
    "train_dataloader.num_workers": 1,
    "train_dataloader.dataset.type": "TinyPrompts",
    "train_dataloader.sampler.type": "DefaultSampler",
    "train_dataloader.collate_fn.type": "keep_batch",
    "train_cfg.type": "IterBasedTrainLoop",
    "train_cfg.max_iters": 9,
    "optim_wrapper.type": "OptimWrapper",
    "optim_wrapper.constructor": "DefaultOptimWrapperConstructor",
    "optim_wrapper.optimizer.type": "SGD",
    "optim_wrapper.optimizer.lr": 0.02,
    "optim_wrapper.clip_grad.max_norm": 0.5,
    "param_scheduler.0.type": "ConstantLR",
    "param_scheduler.0.start_factor": 0.2,
    "param_scheduler.0.by_epoch": True,
    "param_scheduler.0.end": 8,
    "default_hooks.runtime_info.type": "RuntimeInfoHook",
    "default_hooks.tokenizers.type": "ProgressHook",
    "default_hooks.ema.type": "ProgressHook",
    "default_hooks.timer.type": "IterTimerHook",
    "default_hooks.logger.type": "ProgressHook",
    "default_hooks.logger.interval": 3,
    "default_hooks.logger.log_metric_by_epoch": True,
    "default_hooks.checkpoint.type": "CheckpointHook",
    "default_hooks.checkpoint.interval": 1,
    "default_hooks.interrupt.type": "ProgressHook",
    "randomness.seed": 1,
}
# What decides no weight after the step of the resume: what watches, and a warm-up that is over.
NO_LONGER = {
    "train_dataloader.num_workers",
    "train_dataloader.collate_fn.type",
    "param_scheduler.0.type",
    "param_scheduler.0.start_factor",
    "default_hooks.runtime_info.type",
    "default_hooks.tokenizers.type",
    "default_hooks.timer.type",
    "default_hooks.logger.type",
    "default_hooks.logger.interval",
    "default_hooks.logger.log_metric_by_epoch",
    "default_hooks.checkpoint.interval",
    "default_hooks.interrupt.type",
    "optim_wrapper.constructor",
}
# What decides no weight: it holds as it is given now, whatever the checkpoint was made with.
NO_WEIGHTS = {
    "default_scope", "work_dir", "log_level", "log_processor", "visualizer", "env_cfg", "experiment_name", "cfg",
    "launcher", "load_from", "resume", "overwrite", "custom_imports", "model_wrapper_cfg", "find_unused_parameters",
    "sync_bn", "data_preprocessor",
    "val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator",
}  # fmt: skip
SAID_ELSEWHERE = {"threads"}  # by JEPATRunner._restore_threads


def leaves(node, place=""):
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [leaf for key, value in pairs for leaf in leaves(value, f"{place}.{key}".lstrip("."))]
    return found if isinstance(node, (dict, list)) else [place]


def changed(cfg, key, value):
    plain = cfg.to_dict()
    node, (*parents, last) = plain, key.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[last] = value
    return plain


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder, 8)
    return folder


def test_every_key_is_looked_at(tmp_path):
    cfg = tiny_config(tmp_path).to_dict()
    assert {leaf for leaf in leaves(cfg) if leaf.split(".")[0] in SETTINGS} == set(CHANGES)
    known = {*inspect.signature(Runner.__init__).parameters, *OWN_KEYS} - {"self"}
    assert known == {*SETTINGS, *NO_WEIGHTS, *SAID_ELSEWHERE}


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_key_is_told(tmp_path, key):
    cfg = tiny_config(tmp_path)
    found = differences(settings(cfg.to_dict()), settings(changed(cfg, key, CHANGES[key])))
    assert found[key][1] == CHANGES[key]


@pytest.mark.parametrize("key", CHANGES)
def test_what_is_told_has_come_about(tmp_path, whole, said, key):
    """A resume with another value is refused, or ends with other weights unless the key decides none from here on."""
    plain = changed(tiny_config(tmp_path, 8), key, CHANGES[key])
    plain |= {"resume": True, "load_from": str(whole / "iter_6.pth"), "log_level": "INFO"}
    apply()
    try:
        JEPATRunner.from_cfg(Config(plain)).train()
    except UserError:
        return
    assert any(f"since iter_6.pth, {key} is " in line for line in said)
    newest = checkpoints(tmp_path)[-1] if checkpoints(tmp_path) else None
    same = newest and newest.name == "iter_8.pth" and weights(newest) == weights(whole / "iter_8.pth")
    assert same is (key in NO_LONGER), newest


def weights(file):
    return {name: value.tolist() for name, value in load_checkpoint(str(file))["state_dict"].items()}

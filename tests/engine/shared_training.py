"""A small JEPA-T trained by this process, or, under torchrun, by all of them."""

import os
import signal
import sys
from pathlib import Path

from mmengine.hooks import Hook

from jepa_t.engine import JEPATRunner, load_config
from jepa_t.engine.checkpoint import Interrupted
from jepa_t.engine.compat import distribute, leave_process_group

CONFIG = """
_base_ = [{base!r}]
model = dict(
    width=16,
    text_tokenizer=dict(width=16, depth=1, heads=2),
    encoder=dict(depth=1, heads=2),
    predictor=dict(depth=1, heads=2),
    objectives=dict(
        _delete_=True,
        {objective}
        feature=dict(type="FeaturePrediction"),
    ),
    text_drop=0.5,
)
train_dataloader = dict(
    _delete_=True,
    num_workers=0,
    dataset=dict(type="InkedDigits", size=40, layout="single"),
    sampler=dict(type="SeededSampler"),
    collate_fn=dict(type="keep_batch"),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="SGD", lr=0.2))
train_cfg = dict(total_batch=12)
param_scheduler = dict(warmup=4, decay=0.0, start_factor=0.5)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=9))
custom_hooks = []
test_dataloader = test_cfg = test_evaluator = None
"""


class SignalHook(Hook):
    """A signal that comes to the second process alone, in its third step."""

    def after_train_iter(self, runner, batch_idx, **_):
        if runner.rank == 1 and batch_idx == 2:
            os.kill(os.getpid(), signal.SIGTERM)


OBJECTIVES = {
    "flow": 'flow=dict(type="FlowMatching", head_width=16, head_depth=1, draws=2),',
    "diffusion": 'diffusion=dict(type="GaussianDiffusion", head_width=16, head_depth=1, draws=2),',
}
OBJECTIVES["frozen"] = OBJECTIVES["flow"]
MORE = {
    "flow": "",
    "diffusion": 'model["sampler"] = dict(_delete_=True, steps=2)\n',
    "frozen": 'model["frozen"] = ("encoder", "predictor")\n',
}


def write_configs(folder: Path) -> None:
    """A config per objective in ``folder``."""
    base = str(Path(__file__).parents[2] / "configs" / "jepat_digits.py")
    for name, objective in OBJECTIVES.items():
        (folder / f"{name}.py").write_text(CONFIG.format(base=base, objective=objective) + MORE[name])


def train(config: Path, work_dir: Path, steps: int, resume: Path | None = None, options=(), hooks=()):
    """Train ``steps`` of 12 images each, or go on from the checkpoint ``resume``; returns the runner."""
    cfg = load_config(str(config), [f"train_cfg.max_iters={steps}", *options], str(work_dir))
    cfg.launcher = "pytorch" if "RANK" in os.environ else "none"
    cfg.log_level = "WARNING"
    if resume:
        cfg.resume, cfg.load_from = True, str(resume)
    distribute(cfg)
    runner = JEPATRunner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


if __name__ == "__main__":  # under torchrun, beside the folder "one" of a single process
    folder = Path(sys.argv[1])
    for name in OBJECTIVES:
        train(folder / f"{name}.py", folder / "two" / name, 4)
    train(folder / "flow.py", folder / "one_two", 4, folder / "one" / "flow" / "iter_2.pth")
    try:
        train(folder / "flow.py", folder / "stopped", 1000, hooks=[SignalHook()])
    except Interrupted as stop:
        (folder / "stopped" / os.environ["RANK"]).write_text(str(stop))
    leave_process_group()

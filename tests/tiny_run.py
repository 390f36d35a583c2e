"""A small JEPA-T for inked digits as a config file, and a checkpoint of it with random weights."""

import functools
from pathlib import Path

import tiny
from mmengine.config import Config

from jepa_t.engine import load_config
from jepa_t.engine.compat import save_checkpoint
from jepa_t.registry import MODELS, build

CONFIG = """
_base_ = ["jepat_digits"]
threads = 1
log_level = "WARNING"
visualizer = None
model = dict(
    width=16,
    image_tokenizer=dict(patch=4),
    text_tokenizer=dict(width=16, depth=1, heads=2),
    encoder=dict(depth=1, heads=2),
    predictor=dict(depth=1, heads=2),
    objectives=dict(flow=dict(head_width=16, head_depth=1, draws=1)),
    sampler=dict(steps=2, draw=dict(solver_steps=2)),
)
train_dataloader = dict(batch_size=4, dataset=dict(size=64))
train_cfg = dict(max_iters=12)
default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=3))
custom_hooks = [dict(type="PreviewHook", interval=7, captions=["a red three"])]
test_dataloader = dict(batch_size=5, dataset=dict(splits=("seen",), per_split=32))
"""


def small_config() -> Config:
    """That config, read."""
    path = tiny.folder() / "small.py"
    path.write_text(CONFIG)
    return load_config(str(path))


@functools.cache
def checkpoint() -> Path:
    """The checkpoint; it goes with the process."""
    path, config = tiny.folder() / "small.pth", small_config().model.to_dict()
    model = build(config, MODELS)
    model.fit(tiny.smooth_images(64, (8, 8)), ["a red three on white paper", "the digit five in green ink"])
    tiny.randomise(model.network)
    model.ema.load_state_dict(model.network.state_dict())
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": config}}, str(path))
    return path

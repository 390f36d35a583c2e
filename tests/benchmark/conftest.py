"""A benchmark of seconds: the scenes' config, made small."""

from pathlib import Path

import pytest

from jepa_t.benchmark import Preset

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = f"""
_base_ = ["{CONFIGS}/jepat_shapes.py"]
model = dict(
    width=16,
    text_tokenizer=dict(width=16, depth=1, heads=2),
    encoder=dict(depth=1, heads=2),
    predictor=dict(depth=1, heads=2),
    objectives=dict(flow=dict(head_width=24, head_depth=1)),
    sampler=dict(steps=3, draw=dict(solver_steps=2)),
)
train_dataloader = dict(batch_size=8, dataset=dict(size=64))
test_dataloader = dict(dataset=dict(splits=("seen", "unseen_relation", "swap"), per_split=8))
train_cfg = dict(max_iters=16)
"""
PRESET = Preset(seeds=1, steps={}, prompts=8)


@pytest.fixture(scope="session")
def small_text():
    return SMALL


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path

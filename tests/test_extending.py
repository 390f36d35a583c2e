"""The components of docs/extending.md: each works where it is put, as the page says."""

import re

import pytest
import torch
from mmengine.config import Config
from pages import ROOT, blocks, restored, run
from tiny import CAPTIONS, SIZE, config, random_images

from jepa_t import registry
from jepa_t.registry import MODELS, build
from jepa_t.rehearsal import rehearse

BLOCKS = [block for block in blocks(ROOT / "docs" / "extending.md") if not block.mark]
LINES = 24  # at most, of the code of one component


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Register all that the page has, and take it out again."""
    with restored():
        for block in BLOCKS:
            run(block, {"__name__": "extending"})
        yield


SAMPLER = {"steps": 3, "draw": {"solver_steps": 3}}
USES = {
    "fusion": {"fusion": {"predictor": {"type": "Gate"}, "blocks": {"type": "Gate"}, "features": {"type": "Gate"}}},
    "encoder": {"encoder": {"type": "Mixer"}},
    "predictor": {"predictor": {"type": "MeanPredictor"}},
    "every fusion of own backbones": {
        "encoder": {"type": "Mixer"},
        "predictor": {"type": "MeanPredictor"},
        "fusion": {"context": {"type": "Gate"}, "blocks": {"type": "CrossAttention"}},
    },
    "text tokenizer": {"text_tokenizer": {"type": "Letters"}},
    "image tokenizer": {"image_tokenizer": {"type": "Pixels", "size": SIZE}},
    "objective": {
        "objectives": {"own": {"type": "Gaussian"}},
        "sampler": {"steps": 3, "draw": {"spread": 0.5}},
    },
    "sampler": {"sampler": {"type": "RowByRow"}},
    "solver": {"sampler": {"steps": 3, "draw": {"solver": "ralston", "solver_steps": 2}}},
    "reveal order": {"sampler": SAMPLER | {"order": "centre_first"}},
    "reveal schedule": {"sampler": SAMPLER | {"schedule": {"type": "power", "exponent": 3.0}}},
    "guidance schedule": {"sampler": SAMPLER | {"guidance_schedule": "falling"}},
    "mask ratio": {"mask_ratio": {"type": "cosine_mask", "multiple": 2}},
    "attention": {"predictor": {"type": "Predictor", "depth": 1, "heads": 2, "attention": "sharper"}},
}


@pytest.mark.parametrize("name", USES)
def test_the_component_trains_and_draws(name):
    model = build(config(**USES[name]), MODELS)
    model.fit(random_images(64), CAPTIONS)
    rehearse(model, random_images(2), CAPTIONS[:2])
    loss = sum(model.loss(random_images(4), CAPTIONS[:4]).values())
    loss.backward()
    assert model.generate(CAPTIONS[:2], [0, 1]).shape == (2, 3, *SIZE)


def test_data_set_metric_and_hook_serve_a_whole_training(tmp_path):
    from jepa_t.engine import JEPATRunner, load_config

    path = tmp_path / "flats.py"
    base = ROOT / "configs" / "jepat_digits.py"
    path.write_text(
        f"_base_ = [{str(base)!r}]\n"
        "train_cfg = dict(max_iters=40)\n"
        "train_dataloader = dict(batch_size=8, dataset=dict(_delete_=True, type='Flats'))\n"
        "val_dataloader = None\n"
        "test_dataloader = test_cfg = test_evaluator = None\n"
        "custom_hooks = [dict(type='StopAt', loss=100.0)]\n"
    )
    cfg = load_config(str(path), work_dir=str(tmp_path / "work"))
    runner = JEPATRunner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 1  # the hook has stopped it
    metric = build({"type": "MeanBrightness"}, registry.METRICS)
    metric.process(None, [{"image": torch.ones(3, 8, 8)}, {"image": -torch.ones(3, 8, 8)}])
    assert metric.compute_metrics(metric.results) == {"brightness": 0.5}
    assert isinstance(cfg, Config)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_each_component_is_short(block):
    parts = re.split(r"\n(?=@)", block.code)
    assert all(len(part.strip().splitlines()) <= LINES for part in parts)

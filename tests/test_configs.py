"""Every config loads, survives being written out, builds, and takes a training step."""

from pathlib import Path

import pytest
import torch

from jepa_t.engine import load_config
from jepa_t.registry import DATASETS, METRICS, MODELS, build

ROOT = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path for path in ROOT.rglob("*.py") if "_base_" not in path.parts)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_is_whole(path, tmp_path):
    cfg = load_config(str(path))
    cfg.dump(str(tmp_path / "dumped.py"))
    dumped = load_config(str(tmp_path / "dumped.py"))
    assert dumped.model.to_dict() == cfg.model.to_dict()
    data = cfg.train_dataloader.dataset.to_dict() | {"size": 40}
    dataset, model = build(data, DATASETS), build(cfg.model.to_dict(), MODELS)
    model.fit(dataset.images, dataset.captions)
    batch = dataset.__getitems__([0, 1, 2])
    losses = model(**batch, mode="loss")
    assert all(torch.isfinite(loss) for loss in losses.values())
    prompts = build(cfg.test_dataloader.dataset.to_dict() | {"per_split": 2}, DATASETS)
    texts = model.network.text_tokenizer.ids(dataset.captions + prompts.captions)
    assert texts.shape[1] == model.network.text_tokenizer.length
    assert build(cfg.test_evaluator.to_dict(), METRICS) is not None
    decay = cfg.param_scheduler[-1]
    assert decay.end == cfg.train_cfg.max_iters

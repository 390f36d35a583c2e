"""Every config loads, survives being written out, builds, and takes a training step."""

from pathlib import Path

import pytest
import torch

from jepa_t.engine import load_config
from jepa_t.model import JEPAT
from jepa_t.registry import DATASETS, METRICS, MODELS, build

ROOT = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path for path in ROOT.rglob("*.py") if "_base_" not in path.parts)


def with_tokenizer(model, folder):
    """Put an untrained tokenizer where the config names a trained one."""
    if getattr(model.image_tokenizer, "checkpoint", None):
        weights = {f"tokenizer.{name}": value for name, value in model.image_tokenizer.state_dict().items()}
        torch.save({"state_dict": weights}, folder / "tokenizer.pth")
        model.image_tokenizer.checkpoint = str(folder / "tokenizer.pth")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_is_whole(path, tmp_path):
    cfg = load_config(str(path))
    cfg.dump(str(tmp_path / "dumped.py"))
    dumped = load_config(str(tmp_path / "dumped.py"))
    assert dumped.model.to_dict() == cfg.model.to_dict()
    data = cfg.train_dataloader.dataset.to_dict() | {"size": 40}
    dataset, model = build(data, DATASETS), build(cfg.model.to_dict(), MODELS)
    prompts = build(cfg.test_dataloader.dataset.to_dict() | {"per_split": 2}, DATASETS)
    if isinstance(model, JEPAT):
        with_tokenizer(model, tmp_path)
        model.fit(dataset.images, dataset.captions)
        texts = model.network.text_tokenizer.ids(dataset.captions + prompts.captions)
        assert texts.shape[1] == model.network.text_tokenizer.length
    else:
        assert len(model(**prompts.__getitems__([0, 1]), mode="predict")) == 2
    batch = dataset.__getitems__([0, 1, 2])
    losses = model(**batch, mode="loss")
    assert all(torch.isfinite(loss) for loss in losses.values())
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    assert all(build(dict(metric), METRICS) for metric in metrics)
    decay = cfg.param_scheduler[-1]
    assert decay.end == cfg.train_cfg.max_iters

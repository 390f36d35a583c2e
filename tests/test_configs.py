"""Every config loads, survives being written out, builds, and takes a training step."""

from pathlib import Path

import pytest
import torch
from pages import named
from PIL import Image
from torch import nn

from jepa_t.contracts import TextTokenizer
from jepa_t.engine import load_config
from jepa_t.model import JEPAT
from jepa_t.network import Network
from jepa_t.registry import DATASETS, METRICS, MODELS, build

ROOT = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path for path in ROOT.rglob("*.py") if "_base_" not in path.parts)
OWN = [path for path in CONFIGS if path.stem.endswith("_own")]  # tests/data/test_small.py has a folder for them
IMAGENET = [path for path in CONFIGS if path.stem.startswith("jepat_imagenet")]  # needs data and weights from elsewhere


def with_tokenizer(model, folder):
    """Put an untrained tokenizer where the config names a trained one."""
    if getattr(model.image_tokenizer, "checkpoint", None):
        weights = {f"tokenizer.{name}": value for name, value in model.image_tokenizer.state_dict().items()}
        torch.save({"state_dict": weights}, folder / "tokenizer.pth")
        model.image_tokenizer.checkpoint = str(folder / "tokenizer.pth")


class KL16:
    """What the network asks of MAR's image tokenizer."""

    grid, channels = (16, 16), 16


class CLIPText(TextTokenizer):
    """What the network asks of ViT-B/32's text half: the width of its features, and a learned null text."""

    width, length = 512, 77
    ids = forward = null = None

    def __init__(self):
        super().__init__()
        self.null_token = nn.Parameter(torch.zeros(1, 512))


@pytest.mark.parametrize(
    ("size", "paper", "ours", "epochs"),
    [("base", 216e6, 214_973_808, 1400), ("large", 695e6, 692_150_416, 480), ("huge", 1438e6, 1_433_623_984, 320)],
)
def test_the_sizes_of_the_paper(size, paper, ours, epochs):
    cfg = load_config(str(ROOT / f"jepat_imagenet{'' if size == 'base' else '_' + size}.py"))
    options = cfg.model.to_dict()
    parts = {name: options[name] for name in ("width", "encoder", "predictor", "fusion", "objectives")}
    with torch.device("meta"):
        network = Network(KL16(), text_tokenizer={"type": CLIPText}, **parts)
    count = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert count == ours
    assert count == pytest.approx(paper, rel=0.01)
    # The public code projects the text to D by an MLP, and attends to and concatenates D channels instead of 512.
    width = options["width"]
    theirs = count + width**2 + 2 * width * (width - 512) + width * (width - 512)
    assert theirs == pytest.approx(paper, rel=0.001)
    assert cfg.train_cfg.max_iters * 2048 == pytest.approx(epochs * 1_281_167, abs=2048)


@pytest.mark.parametrize("path", sorted({*CONFIGS} - {*IMAGENET, *OWN}), ids=lambda path: str(path.relative_to(ROOT)))
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


def test_the_config_of_ones_own_images_in_the_docs_is_whole(tmp_path, monkeypatch):
    code = named(ROOT.parent / "docs" / "data.md", "configs/mine.py")
    (tmp_path / "mine.py").write_text(code.replace("./_base_", f"{ROOT}/_base_"))
    (tmp_path / "data" / "mine").mkdir(parents=True)
    Image.new("RGB", (300, 280), "red").save(tmp_path / "data" / "mine" / "x.jpg")
    (tmp_path / "data" / "mine" / "x.txt").write_text("a red wall")
    monkeypatch.chdir(tmp_path)
    cfg = load_config("mine.py")
    batch = build(cfg.train_dataloader.dataset.to_dict(), DATASETS).__getitems__([0, 1])
    assert batch["inputs"].shape == (2, 3, *cfg.model.image_tokenizer["size"])
    assert batch["data_samples"]["caption"] == ["a red wall"] * 2
    assert cfg.get("test_evaluator") is None

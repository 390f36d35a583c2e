"""A converted backbone under the JEPA-T fusion: what is frozen stays, what is left open starts fresh, and it draws."""

from pathlib import Path

import pytest
import torch
from djepa_reference import Public, public_file
from image_files import write_classes

from jepa_t.conversion import convert_network
from jepa_t.engine import JEPATRunner, apply, load_config
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint
from jepa_t.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs" / "jepat_imagenet_from_djepa.py")
FEW = {"type": "ImageNet", "size": 32, "names": ["tench", "hen"], "templates": ["a photo of a {}"]}


@pytest.fixture
def start(tmp_path, sources):
    """Two sets of D-JEPA's weights, a few images, and the options that make the config that small."""
    networks = Public(), Public()
    path = public_file(tmp_path / "theirs.pth", *networks)
    convert_network("djepa", path, tmp_path / "backbone.pth", backbone=True)
    write_classes(tmp_path / "images", (3, 4), (32, 32))
    text = {"type": "OpenCLIPText", **sources["jepat"]["text_encoder"], "length": 32}
    return networks, [
        f"load_from={tmp_path / 'backbone.pth'}",
        "model.width=32",
        "model.mask_ratio.multiple=2",
        f"model.image_tokenizer.source={sources['djepa']['image_tokenizer']}",
        "model.image_tokenizer.size=(32,32)",
        f"model.text_tokenizer={text}",
        *(f"model.{part}.heads=4" for part in ("encoder", "predictor")),
        "model.encoder.depth=2",
        "model.encoder.registers=6",
        "model.predictor.depth=3",
        "model.objectives.flow.head_width=16",
        "model.objectives.flow.head_depth=1",
        f"train_dataloader.dataset={FEW | {'root': str(tmp_path / 'images')}}",
        "train_dataloader.num_workers=0",
        "test_dataloader.num_workers=0",
        "train_cfg.total_batch=4",
        "train_cfg.max_iters=3",
        "param_scheduler.start_factor=1.0",
        "optim_wrapper.optimizer.lr=0.05",
    ]


def train(tmp_path, options, *more):
    apply()
    cfg = load_config(CONFIG, [*options, *more], str(tmp_path / "work"))
    cfg.launcher = "none"
    runner = JEPATRunner.from_cfg(cfg)
    runner.train()
    return runner.model


def far(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_a_frozen_backbone_stays_the_averaged_one_and_the_rest_learns(tmp_path, start, capsys):
    (_, averaged), options = start
    begun = load_checkpoint(str(tmp_path / "backbone.pth"))["state_dict"]
    model = train(tmp_path, options)
    said = capsys.readouterr().out.replace("\n", " ")
    assert "left to the config: image_tokenizer (3 tensors), network.text_tokenizer (2 tensors)" in said
    for part in ("encoder", "predictor"):
        kept = {name.split(".", 2)[2]: v for name, v in begun.items() if name.startswith(f"ema.{part}.")}
        for copy in (model.network, model.ema):
            assert far(kept, getattr(copy, part).state_dict()) == 0
        assert not any(p.requires_grad for p in getattr(model.network, part).parameters())
    assert torch.equal(model.network.encoder.registers, averaged.buffer[0])
    for site, module in model.network.fusion.items():
        assert far(module.state_dict(), model.ema.fusion[site].state_dict()) > 1e-4
    drawn = Pipeline.from_pretrained(tmp_path / "work")("a photo of a hen", [0], steps=2, draw={"solver_steps": 2})
    assert drawn.images[0].size == (32, 32)


def test_a_backbone_that_trains_along_starts_from_raw_and_averaged_weights(tmp_path, start, monkeypatch):
    (raw, averaged), options = start
    seen = []
    loss = JEPATRunner.load_checkpoint

    def load(self, *args, **kwargs):
        found = loss(self, *args, **kwargs)
        seen.extend([self.model.network.encoder.registers.clone(), self.model.ema.encoder.registers.clone()])
        return found

    monkeypatch.setattr(JEPATRunner, "load_checkpoint", load)
    model = train(tmp_path, options, "model.frozen=()")
    assert torch.equal(seen[0], raw.buffer[0])
    assert torch.equal(seen[1], averaged.buffer[0])
    assert (model.network.encoder.registers - seen[0]).abs().max() > 1e-3
    assert all(p.requires_grad for p in model.network.encoder.parameters())


def test_a_backbone_of_another_size_or_with_less_than_it_says_is_told(tmp_path, start):
    with pytest.raises(UserError, match=r"network\.encoder\.registers is \[6, 32\] there and \[7, 32\] here"):
        train(tmp_path, start[1], "model.encoder.registers=7")
    broken = load_checkpoint(str(tmp_path / "backbone.pth"))
    del broken["state_dict"]["ema.encoder.registers"]
    torch.save(broken, tmp_path / "backbone.pth")
    with pytest.raises(UserError, match=r"ema\.encoder\.registers is absent there"):
        train(tmp_path, start[1])


def test_a_backbone_alone_draws_nothing(tmp_path, start):
    with pytest.raises(UserError, match="holds no config"):
        Pipeline.from_pretrained(tmp_path / "backbone.pth")
    config = load_config(CONFIG, start[1]).model.to_dict()
    with pytest.raises(UserError, match="absent there"):
        Pipeline.from_pretrained(tmp_path / "backbone.pth", config)

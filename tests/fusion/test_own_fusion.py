"""A user's own fusion: one class with one method, found in every way that plug-ins are."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny import LENGTH, TEXT_WIDTH, WIDTH, generator, gradients, make_model, random_text, randomise
from torch import nn

from jepa_t.fusion import Fusion
from jepa_t.registry import FUSIONS, load_plugins

SOURCE = """
from torch import nn
from jepa_t.registry import FUSIONS

@FUSIONS.register_module()
class {name}(nn.Module):
    def __init__(self, width, text_width, gain=2.0):
        super().__init__()
        self.proj, self.gain = nn.Linear(text_width, width), gain

    def forward(self, x, text):
        return x + self.gain * self.proj(text.pooled)[:, None]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module with a user's fusion where Python finds it; forget it afterwards."""
    before, modules = dict(FUSIONS.module_dict), set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(module, name):
        (tmp_path / f"{module}.py").write_text(SOURCE.format(name=name))
        return tmp_path

    yield write
    FUSIONS._module_dict.clear()
    FUSIONS._module_dict.update(before)
    for module in set(sys.modules) - modules:
        if module.startswith("own_fusion"):
            del sys.modules[module]


def check(kind, at="features"):
    fusion = Fusion({at: {"type": kind, "gain": 3.0}}, WIDTH, TEXT_WIDTH, 2, LENGTH)
    randomise(fusion)
    x, text = torch.randn(2, LENGTH + 3, WIDTH, generator=generator(0)), random_text(2)
    expected = x + 3.0 * fusion[at].proj(text.pooled)[:, None]
    torch.testing.assert_close(fusion.at(at, x, text), expected)
    assert not torch.allclose(expected, x)


def test_an_own_fusion_by_decorator_and_custom_imports(own):
    folder = own("own_fusion_a", "Loud")
    config = Path(folder) / "config.py"
    config.write_text('custom_imports = dict(imports=["own_fusion_a"])\nfusion = dict(type="Loud")\n')
    assert "Loud" not in FUSIONS.module_dict
    check(Config.fromfile(config).fusion.type)


def test_an_own_fusion_by_dotted_path(own):
    own("own_fusion_b", "Louder")
    check("own_fusion_b.Louder")


def test_an_own_fusion_by_class():
    class Mine(nn.Module):
        def __init__(self, text_width, width, gain):
            super().__init__()
            self.proj, self.gain = nn.Linear(text_width, width), gain

        def forward(self, x, text):
            return x + self.gain * self.proj(text.pooled)[:, None]

    check(Mine)
    assert "Mine" not in FUSIONS.module_dict


def test_an_own_fusion_by_entry_point(own):
    info = own("own_fusion_c", "Loudest") / "own_fusion-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-fusion\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jepa_t.plugins]\nloudest = own_fusion_c\n")
    assert "Loudest" not in FUSIONS.module_dict
    assert "loudest" in load_plugins()
    check("Loudest")


def test_a_model_with_an_own_fusion_trains_and_draws(own):
    own("own_fusion_d", "Quiet")
    model = make_model(fusion={"blocks": {"type": "own_fusion_d.Quiet"}})
    losses = model.loss(torch.zeros(2, 3, 4, 6), ["red", "blue"])
    sum(losses.values()).backward()
    assert min(gradients(model.network.fusion).values()) > 0
    assert model.generate(["red"], [0]).shape == (1, 3, 4, 6)

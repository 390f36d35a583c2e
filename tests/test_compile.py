"""Compiled blocks: few kinds of shapes, all met in the first steps; then nothing is compiled again."""

import pytest
import torch
import torch._dynamo
from tiny import CAPTIONS, make_model
from torch import nn

from jepa_t.masking import MaskRatio

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")

IMAGE = {"type": "PatchTokenizer", "size": (16, 16), "patch": 2, "channels": 5}  # 64 tokens
FEW = {"preset": "balanced", "draw": {"solver_steps": 2}, "guidance_scale": 2.0}
# Guided from early and from late on, so that one token and several are drawn with guidance and without.
SETTINGS = [FEW | {"guidance_interval": (start, 1.0)} for start in (0.01, 0.3)]
SETTINGS += [FEW | {"preset": "fast"}, FEW | {"steps": 40}]


@pytest.fixture
def compiled(monkeypatch):
    """A compiled model, of which no code is generated: what is counted is how often it would be."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile(module, backend="eager"))
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=True):
        yield make_model(image_tokenizer=IMAGE, compile=True)
    torch._dynamo.reset()


def train(model, steps):
    for step in range(steps):
        torch.manual_seed(step)
        images = torch.rand(4, 3, 16, 16) * 2 - 1
        sum(model.loss(images, CAPTIONS[:4]).values()).backward()


def test_training_compiles_nothing_after_the_first_steps(compiled):
    compiled.mask_ratio = MaskRatio.of({"low": 0.3, "std": 0.5})
    train(compiled, 4)
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert made <= 10
    with torch.compiler.set_stance("fail_on_recompile"):
        train(compiled, 12)  # of other visible counts
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made


def test_sampling_compiles_nothing_after_the_first_images_and_training_goes_on(compiled):
    train(compiled, 4)
    for batch in (4, 1, 3):
        for setting in SETTINGS[:2]:
            compiled.generate(CAPTIONS[:batch], range(batch), setting)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 40  # of blocks and of the head's blocks
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in (2, 5):
            for setting in SETTINGS:
                compiled.generate(CAPTIONS[:batch], range(batch), setting)
        train(compiled, 4)


def test_mean_flow_and_learned_guidance_compile_nothing_after_the_first_steps_either(compiled):
    flow = {"type": "MeanFlow", "head_width": 16, "head_depth": 2, "draws": 2, "learns_guidance": True}
    options = {"image_tokenizer": IMAGE, "objectives": {"flow": flow}, "sampler": {"steps": 3}}
    plain, compiled = (make_model(**options, compile=compile) for compile in (False, True))
    compiled.load_state_dict(plain.state_dict())
    train(compiled, 4)
    with torch.compiler.set_stance("fail_on_recompile"):
        train(compiled, 8)
    torch.manual_seed(0)
    found = [model.loss(torch.zeros(4, 3, 16, 16), CAPTIONS[:4], seed=1)["loss_flow"] for model in (plain, compiled)]
    torch.testing.assert_close(*found)


def test_a_place_in_place_of_tensors_would_be_noticed(compiled):
    block = compiled.network.predictor.blocks[0]
    x = torch.randn(2, 7, 16)
    for count in (2, 3, 4):
        block(x, wanted=x[:, :count])
    with torch.compiler.set_stance("fail_on_recompile"):
        block(x, wanted=x[:, 1:6])
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            block(x, x[:, :, 0] > 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its code generator
def test_compiled_code_computes_the_same():
    torch._dynamo.reset()
    eager, compiled = (make_model(image_tokenizer=IMAGE, sampler=FEW, compile=c) for c in (False, True))
    compiled.load_state_dict(eager.state_dict())
    losses = []
    for model in (eager, compiled):
        torch.manual_seed(0)
        loss = sum(model.loss(torch.rand(4, 3, 16, 16) * 2 - 1, CAPTIONS[:4]).values())
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    for one, other in zip(eager.network.parameters(), compiled.network.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)
    images = [model.generate(CAPTIONS[:3], range(3)) for model in (eager, compiled)]
    torch.testing.assert_close(*images, atol=1e-4, rtol=1e-4)

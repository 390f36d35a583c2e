"""Nothing is bound to a device, and between two logged steps, or two sampling steps, the host never waits for it.

On the device ``meta`` there are shapes but no numbers: whoever asks for a number, or for a shape that depends on one,
gets an error. A copy to it that would wait is told by its argument.
"""

import copy

import pytest
import torch
from tiny import CAPTIONS, GRID, make_model, random_images, with_objective
from tiny_text import saved
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jepa_t.drawing import draw_tokens
from jepa_t.engine import GuardedOptimWrapper
from jepa_t.registry import TOKENIZERS, build
from jepa_t.structures import Given, Revealed


class NoWaits(TorchDispatchMode):
    """Raises where a copy from the host would wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        moved = func == torch.ops.aten._to_copy.default and torch.device(kwargs.get("device", "cpu")).type == "meta"
        if moved and args[0].device.type == "cpu" and not kwargs.get("non_blocking"):
            raise AssertionError(f"a copy of {tuple(args[0].shape)} waits; give it non_blocking=True")
        return func(*args, **kwargs)


def on_meta(model):
    """A copy without numbers; its captions' words lie there, since moving them is the text tokenizer's business."""
    for network in (model.network, model.ema):
        network.text_tokenizer.ids(["red"])  # reads the vocabulary once, not these captions
    model.loss(random_images(1), CAPTIONS[:1])  # looks once whether all is fitted
    model = copy.deepcopy(model).to("meta")
    for network in (model.network, model.ema):
        words = network.text_tokenizer
        words.ids = lambda captions, ids=words.ids: ids(captions).to("meta", non_blocking=True)
    return model


class Fused(torch.optim.SGD):
    """Takes what a fused kernel reads, which the device meta doesn't have."""

    def step(self):
        assert self.found_inf.device.type == "meta"
        del self.found_inf
        return super().step()


FEW = {"preset": "balanced", "steps": 3, "draw": {"solver_steps": 2}}  # shapes alone are slow: each operation is Python
GUIDED = {"type": "MeanFlow", "head_width": 16, "head_depth": 2, "draws": 2, "learns_guidance": True}
CODES = with_objective("TokenCrossEntropy", sampler={"steps": 3, "order": "confidence"})
MODELS = {
    "FlowMatching": {"sampler": FEW},
    "GaussianDiffusion": with_objective("GaussianDiffusion", sampler={"steps": 3, "draw": {"solver_steps": 2}}),
    "TokenCrossEntropy": CODES,
    "MeanFlow": {"objectives": {"flow": GUIDED}, "sampler": {"steps": 3, "draw": {"solver_steps": 2}}},
    "none": {"fusion": "none", "sampler": FEW | {"order": "halton"}},
    "early": {"fusion": "early", "sampler": FEW | {"order": "checkerboard"}},
    "late": {"fusion": "late", "sampler": FEW | {"guidance_interval": (0.0, 0.2)}},
}
each = pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)


@each
def test_no_training_step_waits(changes):
    """From the batch on the host to the averaged weights."""
    model = on_meta(make_model(**changes))
    wrapper = GuardedOptimWrapper(Fused(model.network.parameters(), 0.1), clip_grad={"max_norm": 1.0})
    wrapper.deferred, wrapper.device = True, "cpu"  # as with a GPU's fused optimizers; autocast knows no meta
    batch = {"inputs": random_images(4), "data_samples": {"caption": CAPTIONS[:4]}}
    with NoWaits():
        losses = model.train_step(batch, wrapper)
        model.update_ema(0.9)
    assert all(loss.device.type == "meta" for loss in losses.values())


@pytest.mark.parametrize("name", ["ClassEmbedding", "HFText"])
def test_no_text_tokenizer_waits(name):
    """A frozen one remembers what it has said, so from the second time on."""
    captions, meta = ["a red nine", "the green blue"], torch.device("meta")
    options = {"names": ["nine", "blue"], "width": 8} if name == "ClassEmbedding" else {"model": saved("bert")}
    tokenizer = build({"type": name} | options, TOKENIZERS)
    tokenizer(captions)
    tokenizer.to(meta)
    tokenizer(captions)
    with NoWaits():
        assert tokenizer(captions).pooled.device == meta


@each
def test_no_sampling_step_waits(changes):
    model = on_meta(make_model(**changes))
    with NoWaits():
        assert model.generate(CAPTIONS[:3], [0, 1, 2]).shape == (3, 3, 2 * GRID[0], 2 * GRID[1])


@pytest.mark.parametrize("changes", [MODELS["FlowMatching"], CODES], ids=["FlowMatching", "TokenCrossEntropy"])
def test_neither_an_edit_nor_a_step_that_is_watched_waits(changes):
    model = on_meta(make_model(**changes))
    masked = torch.empty(2, GRID[0] * GRID[1], dtype=torch.bool, device="meta")
    tokens = torch.empty(*masked.shape, model.image_tokenizer.channels, device="meta")
    with NoWaits():
        asked = CAPTIONS[2:4], Given(tokens, masked, 4), Revealed.revealed.fget, []
        drawn = draw_tokens(model, CAPTIONS[:2], [0, 1], model.sampler, *asked)
    assert drawn.shape == tokens.shape


@pytest.mark.parametrize("read", [Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.nonzero, bool])
def test_reading_a_number_and_a_copy_that_waits_are_noticed(read):
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.ones(1, device="meta"))
    with NoWaits(), pytest.raises(AssertionError, match="non_blocking"):
        torch.ones(3).to("meta")

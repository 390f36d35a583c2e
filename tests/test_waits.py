"""Between two logged steps, and between two sampling steps, the host never waits for the device.

On the device ``meta`` there are shapes but no numbers: whoever asks for a number, or for a shape that depends on one,
gets an error. A copy to it that would wait is told by its argument.
"""

import copy

import pytest
import torch
from tiny import CAPTIONS, GRID, make_model, random_images, with_objective
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jepa_t.engine import update_average


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
    for network in (model.network, model.average):
        network.text_tokenizer.ids(CAPTIONS)  # reads the vocabulary once
    model = copy.deepcopy(model).to("meta")
    for network in (model.network, model.average):
        words = network.text_tokenizer
        words.ids = lambda captions, ids=words.ids: ids(captions).to("meta", non_blocking=True)
    return model


FEW = {"preset": "balanced", "steps": 3, "solver_steps": 2}  # shapes alone are slow: each operation is Python
CODES = with_objective("TokenCrossEntropy", sampler={"steps": 3, "order": "confidence"})
MODELS = {
    "FlowMatching": {"sampler": FEW},
    "GaussianDiffusion": with_objective("GaussianDiffusion", sampler={"steps": 3, "solver_steps": 2}),
    "TokenCrossEntropy": CODES,
}
each = pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)


@each
def test_no_training_step_waits(changes):
    model = on_meta(make_model(**changes))
    optimizer = torch.optim.SGD(model.network.parameters(), 0.1, foreach=True)
    images = random_images(4).to("meta")
    with NoWaits():
        sum(model.loss(images, CAPTIONS[:4]).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        update_average(model.network, model.average, 0.9)


@each
def test_no_sampling_step_waits(changes):
    model = on_meta(make_model(**changes))
    with NoWaits():
        assert model.generate(CAPTIONS[:3], [0, 1, 2]).shape == (3, 3, 2 * GRID[0], 2 * GRID[1])


@pytest.mark.parametrize("read", [Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.nonzero, bool])
def test_reading_a_number_and_a_copy_that_waits_are_noticed(read):
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.ones(1, device="meta"))
    with NoWaits(), pytest.raises(AssertionError, match="non_blocking"):
        torch.ones(3).to("meta")

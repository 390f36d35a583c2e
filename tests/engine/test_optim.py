"""Groups, precision, clipping, accumulation, and the guard."""

import pytest
import torch
from torch import nn

from jepa_t.engine import GuardedOptimWrapper, TaggedGroups
from jepa_t.errors import UserError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.tokens = nn.Parameter(torch.zeros(5, 4))
        self.tokens.no_decay = True
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def wrapper(model=None, **options):
    optimizer = options.pop("optimizer", {"type": "AdamW", "weight_decay": 0.1})
    return TaggedGroups({"optimizer": optimizer, **options})(model or Model())


def sgd(parameter, **options):
    return GuardedOptimWrapper(torch.optim.SGD([parameter], lr=1.0), **options)


def test_the_two_groups_partition_the_trainable_parameters():
    model = Model()
    decay, free = wrapper(model).optimizer.param_groups
    assert [id(p) for p in decay["params"]] == [id(model.linear.weight)]
    assert {id(p) for p in free["params"]} == {
        id(p) for p in (model.linear.bias, model.norm.weight, model.norm.bias, model.tokens)
    }
    assert (decay["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert decay["fused"]


def test_a_named_module_goes_without_decay():
    model = Model()
    constructor = TaggedGroups({"optimizer": {"type": "AdamW", "weight_decay": 0.1}}, {"no_decay": ["linear"]})
    decay, free = constructor(model).optimizer.param_groups
    assert not decay["params"]
    assert any(parameter is model.linear.weight for parameter in free["params"])


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ({"type": "AdamW", "weight_decy": 0.1}, "did you mean 'weight_decay'"),
        ({"type": "SDG"}, "did you mean 'SGD'"),
        ({"type": "AdamW", "lr": -1.0}, "Invalid learning rate"),
    ],
)
def test_a_wrong_optimizer_is_told(optimizer, says):
    with pytest.raises(UserError, match=says):
        wrapper(optimizer=optimizer)


def test_nothing_trainable_is_told():
    with pytest.raises(UserError, match="no trainable parameter"):
        wrapper(Model().requires_grad_(False))


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_a_bad_loss_leaves_the_weights(bad):
    weight = nn.Parameter(torch.ones(2))
    guarded = sgd(weight)
    with pytest.raises(FloatingPointError, match=f"loss is {bad}"):
        guarded.update_params((weight * float(bad)).sum())
    assert weight.tolist() == [1.0, 1.0]


def test_a_bad_gradient_of_a_good_loss_leaves_the_weights():
    weight = nn.Parameter(torch.zeros(2))
    guarded = sgd(weight)
    with pytest.raises(FloatingPointError, match="gradient norm"):
        guarded.update_params(weight.sqrt().sum())
    assert weight.tolist() == [0.0, 0.0]


def test_the_gradient_is_clipped_to_the_norm():
    weight = nn.Parameter(torch.zeros(2))
    guarded = sgd(weight, clip_grad={"max_norm": 1.0})
    guarded.update_params((weight * torch.tensor([3.0, 4.0])).sum())
    torch.testing.assert_close(weight.data, torch.tensor([-0.6, -0.8]))
    assert guarded.grad_norm == pytest.approx(5.0)


def test_a_bad_loss_among_accumulated_ones_leaves_the_weights():
    weight = nn.Parameter(torch.ones(1))
    guarded = sgd(weight, accumulative_counts=2)
    guarded.update_params((weight * float("nan")).sum())
    with pytest.raises(FloatingPointError, match="loss is nan"):
        guarded.update_params(weight.sum())
    assert weight.item() == 1


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16"), ("auto", "float32")])
def test_precision_on_a_cpu(precision, dtype):
    guarded = wrapper(precision=precision)
    with guarded.optim_context(nn.Identity()):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, dtype)


def test_unknown_options_are_told():
    with pytest.raises(UserError, match="bf16"):
        wrapper(precision="fp16")
    with pytest.raises(UserError, match="max_norm"):
        wrapper(clip_grad={"max_nrom": 1.0})
    with pytest.raises(UserError, match="choose from no_decay"):
        TaggedGroups({"optimizer": {"type": "SGD"}}, paramwise_cfg={"bias_decay_mult": 0})
    with pytest.raises(UserError, match="did you mean 'linear'"):
        TaggedGroups({"optimizer": {"type": "SGD"}}, paramwise_cfg={"no_decay": ["liner"]})(Model())


def deferred(weight):
    guarded = wrapper(weight, optimizer={"type": "AdamW", "lr": 0.1}, clip_grad={"max_norm": 1.0})
    guarded.deferred = True  # as on a GPU
    return guarded


def test_on_a_gpu_no_step_after_a_bad_number_changes_anything_and_reading_tells():
    model = Model()
    guarded = deferred(model)
    inputs = torch.ones(2, 3)
    for _ in range(3):
        guarded.update_params(model.linear(inputs).square().sum())
    assert guarded.grad_norm > 0
    expected, states = model.linear.weight.clone(), guarded.optimizer.state[model.linear.weight]["step"].item()
    for factor in (float("nan"), 1.0):
        guarded.update_params(model.linear(inputs).square().sum() * factor)
        assert torch.equal(model.linear.weight, expected)
    assert guarded.optimizer.state[model.linear.weight]["step"].item() == states == 3
    with pytest.raises(FloatingPointError, match="the loss is nan in one of the last 2 steps"):
        guarded.grad_norm  # noqa: B018 - reading raises


def test_on_a_gpu_the_host_reads_at_log_lines_alone(monkeypatch):
    model, reads = Model(), []
    guarded = deferred(model)
    read = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(1) or read(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or read(self))
    for _ in range(49):
        guarded.update_params(model.linear(torch.ones(2, 3)).square().sum())
    assert not reads
    guarded.update_params(model.linear(torch.ones(2, 3)).square().sum())
    assert len(reads) == 1


def test_the_guard_on_the_device_makes_the_steps_of_the_guard_on_the_host():
    weights = []
    for on_device in (False, True):
        torch.manual_seed(0)
        model = Model()
        guarded = deferred(model)
        guarded.deferred = on_device
        for _ in range(5):
            guarded.update_params(model.linear(torch.ones(2, 3)).square().sum())
        weights.append(model.linear.weight)
    assert torch.equal(*weights)

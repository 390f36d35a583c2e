"""The optimizer step: precision, accumulation, clipping, and a guard that no bad number gets past."""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import UserError, unknown
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, build, resolve

UNREAD = 50  # steps after which the host looks at what a GPU has found, if no log line did
PRECISIONS = ("fp32", "bf16", "auto")
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # one kernel for all parameters, CPU and CUDA


@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """MMEngine's optimizer wrapper with bf16 on any device and a check before each step.

    On a GPU with a fused optimizer nothing waits: the device leaves out each step from the first bad number on, and the
    host looks at log lines and checkpoints. Otherwise loss and gradient norm are read before each step. Processes
    agree, since a bad loss of one spoils the gradients of all.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Batches whose gradients are averaged into one step.
        clip_grad: ``dict(max_norm=...)``, or None for no clipping.
        precision: ``"fp32"``, ``"bf16"`` (autocast, no loss scaling), or ``"auto"``: bf16 on a GPU that has
            it, else fp32. A CPU with matrix instructions may gain from ``"bf16"``, others lose: measure.

    Raises:
        UserError: An option is unknown, or the GPU has no bf16.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__(optimizer, accumulative_counts=accumulative_counts)
        for name in clip_grad or {}:
            if name != "max_norm":
                raise unknown("option of clip_grad", name, ["max_norm"])
        self.max_norm = (clip_grad or {}).get("max_norm", math.inf)
        if not isinstance(self.max_norm, Real) or isinstance(self.max_norm, bool) or not self.max_norm > 0:
            raise UserError(f"clip_grad.max_norm is {self.max_norm!r}; it must be a number above 0")
        self.base_param_settings = None  # MMEngine's extra learning rate for the log; ours has one for all groups
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.device = self.parameters[0].device.type
        self.bf16 = _use_bf16(precision, self.device)
        self.deferred = self.device != "cpu" and all(group.get("fused") for group in optimizer.param_groups)
        self._norm = math.nan  # of the last step, before clipping
        self._seen: Tensor | None = None  # loss and norm of the last step, or of the first bad one; on the device
        self._unread = 0
        self._loss: Tensor | float = 0.0  # the sum of an accumulation

    @property
    def grad_norm(self) -> float:
        """The gradient's norm in the last step, before clipping; NaN before the first. Reading it waits for the device.

        Raises:
            FloatingPointError: As :meth:`update_params`.
        """
        self.check()
        return self._norm

    def check(self) -> None:
        """Read what a GPU has found since the last look. Waits for the device.

        Raises:
            FloatingPointError: As :meth:`update_params`.
        """
        if self._seen is not None:
            steps, self._unread = self._unread, 0
            self._norm = self._finite(*self._seen, f" in one of the last {steps} steps" if steps > 1 else "")

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Turn autocast on, and the exchange of gradients between processes off while they accumulate."""
        with super().optim_context(model), torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            yield

    def update_params(self, loss: Tensor, **_) -> None:
        """Run the backward pass and, at the end of an accumulation, the checked and clipped step.

        Raises:
            FloatingPointError: Loss or gradient norm is not finite; no weight has changed.
        """
        self._loss = self._loss + loss.detach()
        self.backward(self.scale_loss(loss))
        if not self.should_update():
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        loss, self._loss = self._loss, 0.0
        if self.deferred:
            self._guard(loss, norm)
        else:
            self._norm = self._finite(loss, norm)
        if self.max_norm < math.inf:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.max_norm, norm)
        self.step()
        self.zero_grad()

    def _guard(self, loss: Tensor, norm: Tensor) -> None:
        now = torch.stack([loss.float(), norm.float()])
        self._seen = now if self._seen is None else torch.where(self._seen.isfinite().all(), now, self._seen)
        self.optimizer.found_inf = 1 - self._seen.isfinite().all().float()  # fused kernels then change nothing
        self._unread += 1
        if self._unread == UNREAD:
            self.check()

    def _finite(self, loss: Tensor, norm: Tensor, where: str = "") -> float:
        loss_value, norm_value = torch.stack([loss.float(), norm.float()]).tolist()
        for name, value in (("loss", loss_value), ("gradient norm", norm_value)):
            if not math.isfinite(value):
                raise FloatingPointError(f"the {name} is {value}{where}")
        return norm_value


def _use_bf16(precision: str, device: str) -> bool:
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    able = device != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not able:
        raise UserError("precision is 'bf16', which this GPU doesn't have; set optim_wrapper.precision=fp32")
    return able and (precision == "bf16" or (precision == "auto" and device == "cuda"))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TaggedGroups:
    """Two parameter groups, with and without weight decay, so that the optimizer's fused kernels stay fast.

    Without decay go parameters of at most one dimension (norms, biases), those with ``no_decay = True``
    (embeddings, learned tokens), and those of the modules that ``paramwise_cfg`` names. Frozen parameters are left
    out.

    Args:
        optim_wrapper_cfg: The wrapper's config with its ``optimizer``.
        paramwise_cfg: ``dict(no_decay=[...])``, such as ``["objectives"]``; None for no more modules.

    Raises:
        UserError: ``paramwise_cfg`` holds something else.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        for name in paramwise_cfg or {}:
            if name != "no_decay":
                raise unknown("rule of paramwise_cfg", name, ["no_decay"])
        self.no_decay = (paramwise_cfg or {}).get("no_decay", [])
        self.wrapper = dict(optim_wrapper_cfg)
        self.wrapper.setdefault("type", "GuardedOptimWrapper")
        self.optimizer = dict(self.wrapper.pop("optimizer"))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer over the model's trainable parameters, and its wrapper.

        Raises:
            UserError: Nothing is trainable, no module has a name of ``no_decay``, or an option of the optimizer is
                unknown or refused.
        """
        options = dict(self.optimizer)
        kind = resolve(options.pop("type"), OPTIMIZERS)
        accepted = dict(inspect.signature(kind).parameters)
        accepted.pop("params")
        for name, value in options.items():
            if name not in accepted:
                raise unknown(f"option of {kind.__name__}", name, accepted)
            if isinstance(value, float) and math.isinf(value):
                raise UserError(f"{kind.__name__}: {name} is {value}; give a number")
        groups = _groups(model, self.no_decay)
        device = next(model.parameters()).device.type
        if kind in FUSED and device in ("cpu", "cuda") and not options.get("foreach"):
            options.setdefault("fused", True)
        try:
            optimizer = kind(groups, **options)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{kind.__name__}: {error}") from error
        return build(self.wrapper, OPTIM_WRAPPERS, optimizer=optimizer)


def _groups(model: nn.Module, no_decay: Sequence[str]) -> list[dict]:
    decay, free = [], []
    modules = {part for name, _ in model.named_modules() for part in name.split(".")}
    for name in no_decay:
        if name not in modules:
            raise unknown("module in paramwise_cfg.no_decay", name, modules - {""})
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            named = not set(no_decay).isdisjoint(name.split("."))
            tagged = named or getattr(parameter, "no_decay", False) or parameter.ndim <= 1
            (free if tagged else decay).append(parameter)
    if not decay and not free:
        raise UserError(f"{type(model).__name__} has no trainable parameter; nothing to optimise")
    return [{"params": decay}, {"params": free, "weight_decay": 0.0}]

"""A rehearsal before step 1: what a component gets wrong is said in one line, before hours are spent on it.

With the real configuration and a few samples the loss is computed and differentiated, and two images are drawn under
guidance. Weights, buffers, gradients and every stream of random numbers are left as they were, so that a training is
the same to the bit with and without it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .contracts import StepwiseSampler, TextTokenizer
from .errors import UserError
from .model import JEPAT
from .network import Network
from .sampling import MaskedSampler, reveal_order

FEW = 2  # sampling steps of the drawing


def rehearse(
    model: JEPAT,
    images: Tensor | Mapping[str, Tensor],
    captions: Sequence[str],
    others: Mapping[str, Sequence[str]] | None = None,
) -> Tensor:
    """Go once through all that a training will do, and leave no trace.

    Args:
        model: Fitted, with the weights that training begins with.
        images: A few of training ``[B, 3, H, W]`` in [-1, 1], or their moments; two are enough.
        captions: Their captions.
        others: Captions that are read later, by where they stand, such as ``{"PreviewHook": [...]}``.

    Returns:
        Two images ``[2, 3, H, W]`` in [-1, 1], as the model draws them now.

    Raises:
        UserError: A component breaks its contract; the message names it and its site.
    """
    for where, texts in (others or {}).items():
        check_captions(model.network.text_tokenizer, texts, where)
    with _untouched(model):
        _loss(model, images, captions)
        return _images(model, [*captions, *captions][:2])


def doubts(model: JEPAT) -> list[str]:
    """What of ``model.text_drop`` makes captions or guidance mean nothing, a line each."""
    sampler, lines = model.sampler, []
    if model.text_drop == 1:
        lines.append("model.text_drop is 1, so no caption is ever read; 0.1 is usual")
    guided = isinstance(sampler, StepwiseSampler) and sampler.guided and not model.ema.generative.guides_itself
    if model.text_drop == 0 and guided:
        lines.append(
            "model.text_drop is 0, so the null text, which model.sampler guides by, isn't trained; 0.1 is usual"
        )
    return lines


def check_captions(tokenizer: TextTokenizer, captions: Sequence[str], where: str) -> None:
    """See that a text tokenizer can read captions.

    Raises:
        UserError: It can't read one; the message says which, and where it stands.
    """
    for caption in captions:
        try:
            tokenizer.ids([caption])
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


@contextmanager
def _untouched(model: JEPAT) -> Iterator[None]:
    """Whatever happens inside, buffers, modes and random streams are as before afterwards; blocks run uncompiled."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for module, training in modes:
                module.training = training


def _loss(model: JEPAT, images: Tensor | Mapping[str, Tensor], captions: Sequence[str]) -> None:
    model.train()
    network, calls = model.network, dict[str, list[int]]()
    with _watched(model, calls):
        losses = model.loss(images, captions)
    _check_calls(network, calls)
    total = _total(model, losses)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    for name, gradient in zip(
        trained, torch.autograd.grad(total, list(trained.values()), allow_unused=True), strict=True
    ):
        if gradient is None:
            raise UserError(
                f"model.{name} is trained and no loss depends on it; use it in its component's forward, or give it "
                f"requires_grad_(False)"
            )


def _total(model: JEPAT, losses: Any) -> Tensor:
    """The sum that training minimises: of the losses whose names count."""
    names = {type(objective).__name__ for objective in model.network.objectives.values()}
    where = f"model.objectives ({', '.join(sorted(names))})"
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.dim():
            shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise UserError(f"{where}: {name} is {shape}; a loss is a tensor with a single number, such as a mean")
        if "loss" in name and not loss.isfinite():
            raise UserError(f"{where}: {name} is {loss.item()} before the first step")
    counted = [loss for name, loss in losses.items() if "loss" in name]
    if not counted:
        raise UserError(f"{where} gave {sorted(losses)}; training sums what has 'loss' in its name, and there is none")
    total = sum(counted[1:], counted[0])
    if not total.requires_grad:
        raise UserError(f"{where}: no loss depends on a weight that is trained")
    return total


@contextmanager
def _watched(model: JEPAT, calls: dict[str, list[int]]) -> Iterator[None]:
    """Note how many tokens each fusion is called with, and how many it should be; compare what components return."""
    network, handles, expected = model.network, [], dict[str, int]()

    def fusion(site: str, _module: nn.Module, inputs: tuple, output: Any) -> None:
        calls.setdefault(site, []).append(inputs[0].shape[1])
        _check_shape(f"fusion.{site}: {type(_module).__name__}", output, list(inputs[0].shape))

    def encoder(module: nn.Module, inputs: tuple, output: Any) -> None:
        tokens, _, registers = inputs
        where = f"encoder: {type(module).__name__}"
        if not isinstance(output, (tuple, list)) or len(output) != 2:
            raise UserError(f"{where} returned a {type(output).__name__}; return registers and tokens")
        width = registers.shape[-1]
        _check_shape(f"{where}, registers", output[0], list(registers.shape))
        _check_shape(f"{where}, tokens", output[1], [*tokens.shape[:2], width])

    def predictor(module: nn.Module, inputs: tuple, output: Any) -> None:
        x, split = inputs[:2]
        before, asked, where = len(network.encoder.registers), split.asked_count, f"predictor: {type(module).__name__}"
        _check_shape(f"{where}.place", x, [x.shape[0], before + split.order.shape[1], x.shape[-1]])
        _check_shape(where, output, [x.shape[0], asked, x.shape[-1]])
        lengths = {"encoder": before, "context": before + split.visible_count, "features": asked, "objective": asked}
        for site in network.fusion:
            count = network.predictor.depth if site == "blocks" else 1
            for number in range(count):
                key = f"{site}.{number}" if site == "blocks" else site
                last = site == "blocks" and number == count - 1
                expected[key] = asked if last else lengths.get(site, x.shape[1])

    def objective(name: str, module: nn.Module, _inputs: tuple, output: Any) -> None:
        if not isinstance(output, Mapping):
            raise UserError(
                f"objectives.{name}: {type(module).__name__} returned a {type(output).__name__}; return named losses, "
                "such as {'loss_mine': loss}"
            )

    for site, modules in network.fusion.items():
        for number, module in enumerate(modules.children() if site == "blocks" else [modules]):
            key = f"{site}.{number}" if site == "blocks" else site
            handles.append(module.register_forward_hook(partial(fusion, key)))
    handles.append(network.encoder.register_forward_hook(encoder))
    handles.append(network.predictor.register_forward_hook(predictor))
    for name, module in network.objectives.items():
        handles.append(module.register_forward_hook(partial(objective, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for site, count in expected.items():
        if site in calls and calls[site][0] != count:
            raise UserError(f"fusion.{site} was given {calls[site][0]} tokens; {count} are expected there")


def _check_calls(network: Network, calls: Mapping[str, list[int]]) -> None:
    """See that each fusion was called once, and once more for the null text where an objective reads that."""
    predictor = type(network.predictor).__name__
    passes = 2 if any("null" in objective.reads for objective in network.losses.values() if objective.weight) else 1
    for site, modules in network.fusion.items():
        for number in range(len(list(modules.children()))) if site == "blocks" else [0]:
            key = f"{site}.{number}" if site == "blocks" else site
            if key not in calls:
                by = {"blocks": "after_block once after each block", "context": "fuse once in place"}.get(site)
                remedy = f"predictor {predictor} must call {by}" if by else "its site was never reached"
                raise UserError(f"fusion.{key} was never called: {remedy}")
            if len(calls[key]) > passes:
                times = len(calls[key]) // passes
                raise UserError(f"fusion.{key} was called {times} times by predictor {predictor}; call it once")


def _check_shape(where: str, output: Any, shape: list[int]) -> None:
    if not isinstance(output, Tensor):
        raise UserError(f"{where} returned a {type(output).__name__}; {shape} is expected")
    if list(output.shape) != shape:
        raise UserError(f"{where} returned {list(output.shape)}; {shape} is expected")


def _images(model: JEPAT, captions: list[str]) -> Tensor:
    """Two images under guidance, in few steps where the sampler can be shortened."""
    model.eval()
    sampler, (rows, columns) = model.sampler, model.image_tokenizer.grid
    if isinstance(sampler, MaskedSampler):
        order = reveal_order(sampler.order, torch.rand(2, rows * columns), (rows, columns))
        if order.sort(1).values.tolist() != [list(range(rows * columns))] * 2:
            raise UserError(f"sampler.order={sampler.order!r} gave no permutation of the {rows * columns} tokens")
        guidance = sampler.guidance_scale if sampler.guidance_scale != 1.0 else 2.0
        few = {"steps": min(sampler.steps, FEW), "guidance_scale": guidance, "guidance_interval": (0.0, 1.0)}
        sampler = replace(sampler, **few)
    drawn = model.generate(captions, [0, 1], sampler)
    stride = model.image_tokenizer.stride
    where = f"image_tokenizer: {type(model.image_tokenizer).__name__}.decode"
    _check_shape(where, drawn, [2, 3, rows * stride, columns * stride])
    return drawn

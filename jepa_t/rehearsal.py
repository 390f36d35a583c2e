"""A rehearsal before step 1: what a component gets wrong is said in one line, before hours are spent on it.

With the real configuration and a few samples the loss is computed and differentiated, and two images are drawn under
guidance. Weights, buffers, gradients and every stream of random numbers are left as they were, so that a training is
the same to the bit with and without it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .contracts import StepwiseSampler, TextTokenizer
from .errors import UserError
from .masking import draw_split
from .model import JEPAT
from .network import Network
from .sampling import MaskedSampler, reveal_order
from .watch import Watch, alike, check_rows, check_tensor, fusions

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
    watch, tokenizer = Watch(), model.network.text_tokenizer
    with _untouched(model), watch.at("model"):
        with watch.at(f"text_tokenizer: {type(tokenizer).__name__}.ids"):
            for where, texts in (others or {}).items():
                check_captions(tokenizer, texts, where)
        try:
            _loss(model, watch, images, captions)
            return _images(model, watch, [*captions, *captions][:2])
        finally:
            watch.end()


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


def _loss(model: JEPAT, watch: Watch, images: Tensor | Mapping[str, Tensor], captions: Sequence[str]) -> None:
    model.train()
    network, expected = model.network, dict[str, int]()
    where = f"image_tokenizer: {type(model.image_tokenizer).__name__}.encode"
    watch.method(model.image_tokenizer, "encode", where, _encoded)
    watch.network(network)
    watch.method(network.predictor, "place", "predictor", partial(_expect, network, expected))
    losses = model.loss(images, captions)
    for key, count in expected.items():
        if key in watch.calls and watch.calls[key][0] != count:
            raise UserError(f"fusion.{key} was given {watch.calls[key][0]} tokens; {count} are expected there")
    _check_calls(network, watch.calls)
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


def _expect(network: Network, expected: dict[str, int], _where: str, args: Sequence[Any], _given: Any) -> None:
    """Note how many tokens the fusion at each place should be given."""
    registers, split = args[0].shape[1], args[2]
    asked, every = split.asked_count, registers + split.order.shape[1]
    lengths = {"encoder": registers, "context": registers + split.visible_count, "predictor": every}
    last = f"blocks.{network.predictor.depth - 1}"
    for key, _ in fusions(network):
        expected[key] = lengths.get(key, every if key.startswith("blocks") and key != last else asked)


def _encoded(where: str, args: Sequence[Any], given: Any) -> None:
    """`encode` looks at the shape."""
    check_tensor(where, given, given.shape if isinstance(given, Tensor) else [], args[0])


def _decoded(model: JEPAT, where: str, args: Sequence[Any], given: Any) -> None:
    (rows, columns), stride = model.image_tokenizer.grid, model.image_tokenizer.stride
    check_tensor(where, given, [len(args[0]), 3, rows * stride, columns * stride], args[0])


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


def _check_calls(network: Network, calls: Mapping[str, list[int]]) -> None:
    """See that each fusion was called once, and once more for the null text where an objective reads that."""
    predictor = type(network.predictor).__name__
    passes = 2 if any("null" in objective.reads for objective in network.losses.values() if objective.weight) else 1
    for key, _ in fusions(network):
        if key not in calls:
            site = key.partition(".")[0]
            by = {"blocks": "after_block once after each block", "context": "fuse once in place"}.get(site)
            remedy = f"predictor {predictor} must call {by}" if by else "its site was never reached"
            raise UserError(f"fusion.{key} was never called: {remedy}")
        if len(calls[key]) > passes:
            times = len(calls[key]) // passes
            raise UserError(f"fusion.{key} was called {times} times by predictor {predictor}; call it once")


def _images(model: JEPAT, watch: Watch, captions: list[str]) -> Tensor:
    """Two images under guidance, in few steps where the sampler can be shortened; again they are the same."""
    model.eval()
    sampler, (rows, columns) = model.sampler, model.image_tokenizer.grid
    name, generative = f"sampler: {type(sampler).__name__}", type(model.ema.generative).__name__
    watch.end()
    where = f"image_tokenizer: {type(model.image_tokenizer).__name__}.decode"
    watch.method(model.image_tokenizer, "decode", where, partial(_decoded, model))
    watch.network(model.ema)
    with watch.at(name):
        if isinstance(sampler, MaskedSampler):
            order = reveal_order(sampler.order, torch.rand(2, rows * columns), (rows, columns))
            if order.sort(1).values.tolist() != [list(range(rows * columns))] * 2:
                raise UserError(f"sampler.order={sampler.order!r} gave no permutation of the {rows * columns} tokens")
            guidance = sampler.guidance_scale if sampler.guidance_scale != 1.0 else 2.0
            few = {"steps": min(sampler.steps, FEW), "guidance_scale": guidance, "guidance_interval": (0.0, 1.0)}
            sampler = replace(sampler, **few)
        drawn = model.generate(captions, [0, 1], sampler)
        fused = watch.fused
        watch.end()
        for where, (module, args) in fused.items():
            with watch.at(where):
                check_rows(where, module, *args)
        watch.network(model.ema)
        _alone(model, captions)
        if not alike(model.generate(captions, [0, 1], sampler), drawn):
            raise UserError(
                f"{name} or {generative}.draw gives other images of the same seeds; take random numbers from what they "
                "are given for it, not from PyTorch's own generator"
            )
    return drawn


@torch.no_grad()
def _alone(model: JEPAT, captions: list[str]) -> None:
    """See that features of an image don't depend on the other one in the batch, and look at the words it looks at."""
    network, tokenizer = model.ema, model.image_tokenizer
    text, device = network.text_tokenizer(captions), next(network.parameters()).device
    split = draw_split(2, math.prod(tokenizer.grid), model.mask_ratio, device)
    tokens = torch.randn(2, math.prod(tokenizer.grid), tokenizer.channels, device=device)
    both = network.condition(tokens, split, text, attention=network.fusion.attends)
    one = network.condition(tokens[:1], split.first(1), text.parted(1)[0])
    if not alike(one.features, both.features[:1]):
        parts = f"encoder: {type(network.encoder).__name__} or predictor: {type(network.predictor).__name__}"
        raise UserError(f"{parts} mixes the images of a batch, or gives other numbers in a second call")

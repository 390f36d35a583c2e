"""What drawing and a training step cost: evaluations, and the operations of the matrix products, which PyTorch counts.

A multiplication and an addition are two operations; all figures are of one image. Nothing is computed: on the device
``meta`` there are shapes and no numbers, and what has the same shapes costs the same, so it is run once.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..contracts import RandomSource
from ..denoiser import Denoiser
from ..masking import MaskRatio
from ..model import JEPAT
from ..objectives import DenoisingHead
from ..sampling.solvers import annealed
from ..structures import Drawn, Prediction, Split, Text

MASKS = 8  # of a training step, at equal distances in the distribution of their sizes


@dataclass(frozen=True)
class Cost:
    """What computing one image costs.

    Attributes:
        network: Evaluations of the network; both branches of guidance count.
        head: Evaluations of the denoising head per token; both branches count.
        flops: Operations by part: ``text``, ``encoder``, ``predictor`` with the fusions and all else, ``head``; in
            training also ``target``, and ``backward`` of all.
    """

    network: float = 0.0
    head: float = 0.0
    flops: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """All operations."""
        return sum(self.flops.values())

    def plus(self, other: "Cost", times: float = 1.0) -> "Cost":
        """This, and the other so many times; -1 takes it away."""
        flops = {p: self.flops.get(p, 0) + times * other.flops.get(p, 0) for p in {**self.flops, **other.flops}}
        return Cost(self.network + times * other.network, self.head + times * other.head, flops)


@contextmanager
def counting(parts: Mapping[nn.Module, str], rest: str) -> Iterator[Counter]:
    """Count the operations within: those of each part's ``forward``, and the rest. Fused attention counts as products.

    Args:
        parts: Names of modules.
        rest: A name for what is in none of them.
    """
    flops: Counter[str] = Counter()
    begun: list[int] = []

    def leave(part: str, *_: Any) -> None:
        spent = counter.get_total_flops() - begun.pop()
        flops.update({part: spent, rest: -spent})

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hooks = [
            module.register_forward_pre_hook(lambda *_: begun.append(counter.get_total_flops())) for module in parts
        ]
        hooks += [module.register_forward_hook(partial(leave, part)) for module, part in parts.items()]
        try:
            yield flops
        finally:
            flops[rest] += counter.get_total_flops()
            for hook in hooks:
                hook.remove()


class Priced:
    """A denoiser on the device ``meta`` that samplers draw one image with, to learn what they would have spent.

    Args:
        denoiser: It.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.network, self.cost = denoiser, denoiser.network, Cost()
        self.grid, self.channels = denoiser.grid, denoiser.channels
        self._known: dict[Hashable, tuple[Any, Cost]] = {}

    def spent(self, draw: Callable[["Priced"], Any]) -> Cost:
        """What ``draw`` spends when it draws with this."""
        self.cost = Cost()
        draw(self)
        return self.cost

    def text(self, captions: Sequence[str]) -> Text:
        """Captions encoded."""
        return self._pay(*self._once(("text", len(captions)), "text", lambda: self.network.text_tokenizer(captions)))

    def null(self, batch: int) -> Text:
        """See :class:`~jepa_t.denoiser.Denoiser`."""
        return self._pay(*self._once(("null", batch), "text", lambda: self.denoiser.null(batch)))

    def condition(self, tokens: Tensor, split: Split, text: Text, branches: int = 1) -> Prediction:
        """See :class:`~jepa_t.denoiser.Denoiser`."""
        key = split.visible_count, split.asked_count, branches
        found, cost = self._once(key, "predictor", lambda: self.denoiser.condition(tokens, split, text, branches))
        return self._pay(found, replace(cost, network=branches))

    def draw(
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        **options: Any,
    ) -> Drawn:
        """See :class:`~jepa_t.denoiser.Denoiser`. Each solver step costs what another does, however late it is."""

        def drawn(**options: Any) -> tuple[Any, Cost]:
            key = condition.shape, null is None, *options.items()
            call = partial(self.denoiser.draw, condition, random, null, guidance_scale, **options)
            found, cost = self._once(key, "head", call)
            rows = condition[..., 0].numel() * (1 if null is None else 2)  # where no denoising head tells its own
            return found, cost if cost.head else replace(cost, head=rows / math.prod(self.grid))

        if "solver_steps" not in options:
            return self._pay(*drawn(**options))
        steps = annealed("solver_steps", options["solver_steps"], options.pop("progress", 0.0))
        if steps <= 3:
            return self._pay(*drawn(**options | {"solver_steps": steps}))
        two, (found, three) = drawn(**options | {"solver_steps": 2})[1], drawn(**options | {"solver_steps": 3})
        return self._pay(found, three.plus(three.plus(two, -1), steps - 3))

    def _pay(self, found: Any, cost: Cost) -> Any:
        self.cost = self.cost.plus(cost)
        return found

    def _once(self, key: Hashable, part: str, call: Callable[[], Any]) -> tuple[Any, Cost]:
        if key not in self._known:
            rows: list[int] = []
            heads = [module.out for module in self.network.modules() if isinstance(module, DenoisingHead)]
            hooks = [head.register_forward_hook(lambda *seen: rows.append(seen[-1][..., 0].numel())) for head in heads]
            with counting({self.network.encoder: "encoder"}, part) as flops:
                found = call()
            for hook in hooks:
                hook.remove()
            self._known[key] = found, Cost(head=sum(rows) / math.prod(self.grid), flops=flops)
        return self._known[key]


def on_meta(model: JEPAT, captions: Sequence[str]) -> JEPAT:
    """A copy on the device ``meta``, where only captions are known that have been read before."""
    for network in (model.network, model.ema):
        network.text_tokenizer(captions)
    known = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in model.parameters()}
    known |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, known)


def sampling(model: JEPAT, caption: str) -> Cost:
    """One image by the model's sampler, alone in its batch; decoding isn't counted."""
    meta = on_meta(model, [caption])
    priced = Priced(Denoiser(meta.ema, meta.image_tokenizer))
    return priced.spent(lambda denoiser: model.sampler(denoiser, denoiser.text([caption]), [0]))


def training(
    model: JEPAT, images: Tensor, captions: Sequence[str], loss: Callable[..., dict[str, Tensor]] = JEPAT.loss
) -> Cost:
    """A training step's share of one image, forward and backward: the mean over :data:`MASKS` sizes of masks.

    Args:
        model: The model, fitted.
        images: ``[B, 3, H, W]``, of which the shape alone matters.
        captions: B.
        loss: Gives the losses of ``(model, images, captions)``.
    """
    model.loss(images[:1], captions[:1])  # looks once whether all is fitted
    meta = on_meta(model, captions).train()
    network, images, cost = meta.network, images.to("meta"), Cost()
    parts = {meta.ema.encoder: "target", network.encoder: "encoder"}
    parts |= {text.text_tokenizer: "text" for text in (network, meta.ema)}
    parts |= {module: "head" for module in network.modules() if isinstance(module, DenoisingHead)}
    for number in range(MASKS):
        share = model.mask_ratio.ratio((number + 0.5) / MASKS)
        meta.mask_ratio = MaskRatio(lambda _quantile, share=share: share)
        with counting(parts, "predictor") as forward:
            total = sum(loss(meta, images, captions).values())
        with counting({}, "backward") as backward:
            total.backward()
        cost = cost.plus(Cost(flops=forward + backward), 1 / (MASKS * len(images)))
    return cost

"""The published procedure, plainly: what the speed suite compares the library with, over the same weights.

Written from its description (JEPA-T; MAR, section 3.4): 64 sampling steps of 99 Euler evaluations; at each step the
text is encoded and every block computes every token; at each evaluation the head computes its modulations for both
branches; guidance is always on. What the library's sampler leaves out of it can be left out one by one, to see what
each is worth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import UserError
from ..masking import draw_split, gather
from ..model import JEPAT
from ..network import Network
from ..objectives import FlowMatching
from ..sampling import Generators
from ..structures import Drawn, Prediction, Split, Text

# What is left out: the text encoded again; the predictor's last block and the fusions after it for other tokens than
# the step's; what comes before the first fusion for the second branch; the head's modulations at each evaluation.
ITEMS = ("text_once", "asked_only", "shared", "hoisted")


@dataclass(frozen=True)
class Published(Denoiser):
    """A network of flow matching, computed as published: what :func:`sample_tokens` draws with.

    Args:
        items: The first of :data:`ITEMS`, as many as wanted.
    """

    items: Sequence[str] = ()

    def text(self, captions: Sequence[str]) -> Text:
        """The text of B captions, encoded."""
        return self.network.text_tokenizer(captions)

    def condition(self, tokens: Tensor, split: Split, text: Text, branches: int = 2) -> Prediction:
        """Of the asked tokens, for two captions of each image."""
        if "asked_only" in self.items:
            copies = 1 if "shared" in self.items else branches
            return self.network.condition(tokens.repeat(copies, 1, 1), split.repeat(copies), text, branches // copies)
        z = condition(self.network, tokens.repeat(branches, 1, 1), split.repeat(branches), text)
        asked = z[:, split.visible_count : split.visible_count + split.asked_count]
        return Prediction(asked, asked)

    def draw(self, condition: Tensor, random: Generators, null: Tensor, scale: float, solver_steps: int) -> Drawn:
        """Solve the flow with Euler's steps."""
        z, times = torch.cat([condition, null]), [k / solver_steps for k in range(solver_steps)]
        network = flow_of(self.network).head
        head = network.at_times(z, times) if "hoisted" in self.items else None
        x = random.normal(z.shape[1], self.channels)
        for time in times:
            both = x.repeat(2, 1, 1)
            velocity = head(both, time) if head else network(both, torch.full(z.shape[:2], time, device=x.device), z)
            with_text, without = velocity[..., : self.channels].chunk(2)  # beyond is guidance learned in
            x = x + (without + scale * (with_text - without)) / solver_steps
        return Drawn(x)


def condition(network: Network, tokens: Tensor, split: Split, text: Text) -> Tensor:
    """The condition of all N tokens, visible ones first ``[B, N, D]``: no block leaves a token out."""
    registers = network.fusion.at("encoder", network.encoder.registers.expand(len(tokens), -1, -1), text)
    registers, visible = network.encoder(gather(tokens, split.visible), split.visible, registers)
    x = network.fusion.at("predictor", network.predictor.place(registers, visible, split, lambda x: x), text)
    for index in range(len(network.predictor.blocks)):
        x = network.fusion.after_block(index, network.predictor.blocks.run(index, x), text)
    features = network.fusion.at("features", network.predictor.norm(x)[:, registers.shape[1] :], text)
    return network.fusion.at("objective", features, text)


@torch.no_grad()
def sample_tokens(
    denoiser: Any,
    captions: Sequence[str],
    random: Generators,
    steps: int,
    solver_steps: int,
    scale: float,
    again: bool,
    every: int = 1,
) -> Tensor:
    """Tokens ``[B, N, C]`` under linear guidance.

    Args:
        denoiser: A :class:`Published`, or what stands for it.
        captions: B texts.
        random: B generators.
        steps: Sampling steps; more than there are tokens are cut to that.
        solver_steps: Euler steps in each.
        scale: Of the guidance at the end.
        again: Encode the text at each step.
        every: To time a part of what takes long: of so many sampling steps one is computed, the middle one. The tokens
            of the others stay 0.
    """
    batch, count = len(captions), math.prod(denoiser.grid)
    steps = min(steps, count)
    order = random.uniform(count).argsort(1)
    tokens, masked = torch.zeros(batch, count, denoiser.channels, device=order.device), count
    text = None
    for step in range(1, steps + 1):
        left = max(min(math.floor(count * math.cos(math.pi * step / (2 * steps)) + 1e-9), masked - 1), steps - step)
        left = 0 if step == steps else left
        if (step - 1) % every != every // 2:
            masked = left
            continue
        split = Split(order, count - masked, masked - left)
        if text is None or again:
            text = denoiser.text(captions) + denoiser.null(batch)
        z, null = denoiser.condition(tokens, split, text, branches=2).condition.chunk(2)
        w = 1 + (scale - 1) * (count - left) / count
        x = denoiser.draw(z, random, null, w, solver_steps=solver_steps).tokens
        tokens = tokens.scatter(1, split.asked[..., None].expand_as(x), x)
        masked = left
    return tokens


def sample(
    model: JEPAT,
    captions: Sequence[str],
    seeds: Sequence[int],
    steps: int = 64,
    solver_steps: int = 99,
    scale: float = 3.0,
    items: Sequence[str] = (),
    every: int = 1,
) -> Tensor:
    """Images ``[B, 3, H, W]`` in [-1, 1] of B captions and seeds, which mean what they mean to the library."""
    random = Generators(seeds, next(model.ema.parameters()).device)
    published = Published(model.ema, model.image_tokenizer, items=items)
    tokens = sample_tokens(published, captions, random, steps, solver_steps, scale, "text_once" not in items, every)
    return model.image_tokenizer.decode(tokens).clamp(-1, 1)


def loss(model: JEPAT, images: Tensor, captions: Sequence[str]) -> dict[str, Tensor]:
    """The losses as published, their values the library's: the text is encoded once more for the teacher, and the head
    and the predictor's last block compute all tokens, of which the visible ones are thrown away."""
    network, tokens = model.network, model.image_tokenizer.encode(images)
    batch, count, _ = tokens.shape
    split = draw_split(batch, count, model.mask_ratio, tokens.device)
    keep = torch.rand(batch).to(tokens.device) >= model.text_drop
    text = network.text_tokenizer(captions).where(keep, network.text_tokenizer.null(batch))
    z = condition(network, tokens, split, text)
    flow, visible = flow_of(network), split.visible_count
    clean = gather(tokens, split.order).expand(flow.draws, -1, -1, -1)
    noise = F.pad(torch.randn_like(clean[:, :, visible:]), (0, 0, visible, 0))
    time = torch.rand(flow.draws, batch, 1, device=tokens.device).expand(-1, -1, count)
    noisy = torch.lerp(noise, clean, time[..., None])
    errors = (flow.head(noisy, time, z)[..., : flow.channels].float() - (clean - noise)).square().mean(-1)
    asked = (torch.arange(count, device=tokens.device) >= visible).float()
    losses = {"loss_flow": flow.weight * (errors * asked).sum() / (asked.sum() * flow.draws * batch)}
    for objective in network.objectives.values():
        if "features" in objective.reads:
            with torch.no_grad():
                model.ema.text_tokenizer(captions)
                features = model.ema.target(tokens, Split(split.order, 0, count))
            errors = F.smooth_l1_loss(objective.mlp(z).float(), features, beta=objective.beta, reduction="none")
            losses["loss_feature"] = objective.weight * (errors.mean(-1) * asked).sum() / (asked.sum() * batch)
    return losses


def flow_of(network: Network) -> FlowMatching:
    """The generative objective.

    Raises:
        UserError: It is another.
    """
    if type(network.generative) is not FlowMatching:
        raise UserError(f"the published procedure is flow matching's, not {type(network.generative).__name__}'s")
    if network.generative.predicts != "velocity":
        raise UserError("the published procedure predicts velocities, not clean tokens")
    return network.generative

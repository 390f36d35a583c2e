"""The published procedure, plainly: what the speed suite compares the library with, over the same weights.

Written from its description (JEPA-T; MAR, section 3.4): 64 sampling steps of 99 Euler evaluations; at each step the
text is encoded and every block computes every token; at each evaluation the head computes its modulations for both
branches; guidance is always on. The library never imports this. Its items of sampling can be switched on one by one, to
see what each is worth.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..masking import draw_split, gather
from ..model import JEPAT
from ..network import Network
from ..sampling import Generators
from ..structures import Split, Text
from .cost import flow_of


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
def sample(
    model: JEPAT,
    captions: Sequence[str],
    seeds: Sequence[int],
    steps: int = 64,
    solver_steps: int = 99,
    scale: float = 3.0,
    items: Sequence[str] = (),
) -> Tensor:
    """Images ``[B, 3, H, W]`` in [-1, 1] under linear guidance.

    Args:
        model: Its averaged weights draw.
        captions: B texts.
        seeds: B numbers, which mean what they mean to the library.
        steps: Sampling steps; more than there are tokens are cut to that.
        solver_steps: Euler steps in each.
        scale: Of the guidance at the end.
        items: The first of :data:`~jepa_t.benchmark.cost.ITEMS`, as many as wanted: the text encoded once; the
            predictor's last block and the fusions after it for the tokens of the step alone; what comes before the
            first fusion once for both branches; the head's modulations of all Euler steps in one product each.
    """
    network, batch = model.ema, len(seeds)
    flow, count = flow_of(network), network.grid[0] * network.grid[1]
    steps = min(steps, count)
    random = Generators(seeds, next(network.parameters()).device)
    order = random.uniform(count).argsort(1)
    tokens, masked = torch.zeros(batch, count, network.channels, device=order.device), count
    text = None
    for step in range(1, steps + 1):
        left = max(min(math.floor(count * math.cos(math.pi * step / (2 * steps)) + 1e-9), masked - 1), steps - step)
        left = 0 if step == steps else left
        split = Split(order, count - masked, masked - left)
        if text is None or "text_once" not in items:
            text = network.text_tokenizer(captions) + network.text_tokenizer.null(batch)
        if "asked_only" in items:
            copies = 1 if "shared" in items else 2
            z = network.condition(tokens.repeat(copies, 1, 1), split.repeat(copies), text, 2 // copies).condition
        else:
            z = condition(network, tokens.repeat(2, 1, 1), split.repeat(2), text)[:, count - masked : count - left]
        w = 1 + (scale - 1) * (count - left) / count
        times = [k / solver_steps for k in range(solver_steps)]
        head = flow.head.at_times(z, times) if "hoisted" in items else None
        x = random.normal(masked - left, network.channels)
        for time in times:
            both = x.repeat(2, 1, 1)
            velocity = head(both, time) if head else flow.head(both, torch.full(z.shape[:2], time, device=x.device), z)
            with_text, without = velocity.chunk(2)
            x = x + (without + w * (with_text - without)) / solver_steps
        tokens = tokens.scatter(1, split.asked[..., None].expand_as(x), x)
        masked = left
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
    errors = (flow.head(noisy, time, z).float() - (clean - noise)).square().mean(-1)
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

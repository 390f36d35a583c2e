"""What a sampling and a training step cost, from the sizes alone: evaluations, and operations of the matrix products.

A multiplication and an addition are two operations. All figures are of one image; the image tokenizer isn't counted.
Fusions of one's own count as nothing. The generative objective must be :class:`~jepa_t.objectives.FlowMatching`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..layers import Attention, Block
from ..masking import masked_count
from ..model import JEPAT, Network
from ..objectives import DenoisingHead, FlowMatching
from ..sampling.solvers import Solver, annealed

ITEMS = ("text_once", "asked_only", "shared", "hoisted")  # what the library's sampler leaves out of the plain procedure
FUSIONS: dict[str, Callable[[nn.Module, int, int], float]] = {
    "Add": lambda fusion, _rows, _words: linears(fusion, 1),
    "FiLM": lambda fusion, _rows, _words: linears(fusion, 1),
    "InContext": lambda fusion, _rows, words: linears(fusion, words),
    "Concat": lambda fusion, rows, _words: linears(fusion.proj, rows) + linears(fusion.text_proj, 1),
    "CrossAttention": lambda fusion, rows, words: attention(fusion.attn, rows, words),
}


@dataclass(frozen=True)
class Cost:
    """Of one image.

    Attributes:
        network: Evaluations of the network; both branches of guidance count.
        head: Evaluations of the denoising head per token; both branches count.
        flops: Operations by part: ``text``, ``encoder``, ``predictor``, ``head`` and in training ``target``.
    """

    network: float
    head: float
    flops: dict[str, float]

    @property
    def total(self) -> float:
        """All operations."""
        return sum(self.flops.values())


def linears(module: nn.Module, rows: float) -> float:
    """All linear layers of a module, each on so many rows."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return sum(2 * rows * layer.in_features * layer.out_features for layer in layers)


def attention(layer: Attention, queries: int, keys: int) -> float:
    """Projections, scores and the weighted sum."""
    projections = linears(layer.q, queries) + linears(layer.proj, queries) + linears(layer.kv, keys)
    return projections + 4 * queries * keys * layer.q.out_features


def block(layer: Block, tokens: int, rows: int | None = None) -> float:
    """A Transformer block over so many tokens, of which ``rows`` are wanted."""
    rows = tokens if rows is None else rows
    return attention(layer.attn, rows, tokens) + linears(layer.mlp, rows)


def text(network: Network) -> float:
    """The text tower on one caption; nothing where it is frozen, since features are remembered."""
    tower, blocks = network.text_tokenizer, getattr(network.text_tokenizer, "blocks", None)
    return 0 if blocks is None else sum(block(one, tower.length) for one in blocks) + 2 * tower.length * tower.width


def encoder(network: Network, tokens: int) -> float:
    """The context encoder on so many tokens beside its registers; or the target encoder, on all."""
    registers = len(network.encoder.registers)
    blocks = sum(block(one, registers + tokens) for one in network.encoder.blocks)
    return linears(network.encoder.embed, tokens) + blocks + _fusion(network, "encoder", registers)


def predictor(network: Network, visible: int, rows: int | None, branches: int = 1, shared: bool = True) -> float:
    """The predictor and the fusions.

    Args:
        network: Of these sizes.
        visible: V.
        rows: Tokens wanted; None computes all to the end.
        branches: Captions for each image.
        shared: Whether what comes before the first fusion is computed once for all branches.
    """
    before, tokens = len(network.encoder.registers), network.grid[0] * network.grid[1]
    copies = 1 if shared and not _early(network) else branches
    total = copies * linears(network.predictor.embed, before + visible)

    def fused(site: str, rows: int, index: int = 0) -> float:
        nonlocal copies
        copies = branches if site in network.fusion else copies
        return copies * _fusion(network, site, rows, index)

    total += fused("context", before + visible)
    total += fused("predictor", before + tokens)
    for index, one in enumerate(network.predictor.blocks):
        last = index == len(network.predictor.blocks) - 1
        wanted = before + tokens if rows is None or not last else rows
        total += copies * block(one, before + tokens, wanted)
        total += fused("blocks", wanted, index)
    rows = tokens if rows is None else rows
    total += fused("features", rows)
    return total + fused("objective", rows)


def _early(network: Network) -> bool:
    """Whether the text comes in so early that nothing is common to the branches."""
    return "encoder" in network.fusion or "context" in network.fusion


def _fusion(network: Network, site: str, rows: int, index: int = 0) -> float:
    if site not in network.fusion:
        return 0
    fusion = network.fusion[site][index] if site == "blocks" else network.fusion[site]
    return FUSIONS.get(type(fusion).__name__, lambda *_: 0)(fusion, rows, network.text_tokenizer.length)


def modulations(head: DenoisingHead, conditions: float, times: float, pairs: float) -> float:
    """The denoising head's modulations for so many conditions, times, and pairs of both."""
    layers = [one.modulation for one in head.blocks] + [head.modulation]
    once = linears(head.embed_condition, conditions) + linears(head.embed_time, times)
    return once + sum(linears(layer, pairs) for layer in layers)


def denoise(head: DenoisingHead, tokens: float) -> float:
    """The denoising head without its modulations."""
    return sum(linears(layer, tokens) for layer in (head.embed, head.out, *(one.mlp for one in head.blocks)))


def flow_of(network: Network) -> FlowMatching:
    """The generative objective."""
    return next(objective for objective in network.objectives.values() if isinstance(objective, FlowMatching))


def sampling(model: JEPAT, items: Sequence[str] = ITEMS) -> Cost:
    """One image by the model's sampler, alone in its batch.

    Args:
        model: With the sampler.
        items: Which of :data:`ITEMS` act; without any it is the plain procedure at the sampler's settings, both
            branches in all steps.
    """
    network, head, (height, width) = model.ema, flow_of(model.ema).head, model.ema.grid
    flops = dict.fromkeys(("text", "encoder", "predictor", "head"), 0.0)
    passes = evaluations = done = 0
    alike = not {"encoder", "context", "predictor", "blocks"} & set(
        network.fusion
    )  # what the branches give the predictor
    plan = model.sampler._plan(height * width)
    for step in plan:
        options = model.sampler.draw
        steps = annealed("solver_steps", options.get("solver_steps", 99), step.progress)
        times = Solver(options.get("solver", "euler"), steps).times
        branches = 2 if step.guidance != 1 or not items else 1
        asked = branches * step.asked
        shared, rows = "shared" in items, step.asked if "asked_only" in items else None
        flops["encoder"] += (1 if shared and not _early(network) else branches) * encoder(network, done)
        flops["predictor"] += predictor(network, done, rows, branches, shared)
        flops["text"] += 0 if "text_once" in items and done else 2 * text(network)
        if "hoisted" in items:
            flops["head"] += modulations(head, asked, len(set(times)), asked * len(set(times)))
            flops["head"] -= len(times) * linears(head.embed, asked - step.asked)  # both branches share one state
        else:
            flops["head"] += len(times) * modulations(head, asked, asked, asked)
        flops["head"] += len(times) * denoise(head, asked)
        passes += 1 if alike and shared else branches
        evaluations, done = evaluations + len(times) * asked, done + step.asked
    return Cost(passes, evaluations / (height * width), flops)


def training(model: JEPAT, plain: bool = False, visible: int | None = None) -> Cost:
    """A training step's share of one image, forward and backward.

    Args:
        model: The model.
        plain: The published procedure: every part computes all tokens, and the teacher's text is encoded too.
        visible: V; by default the mean over the mask's distribution.
    """
    network, (height, width) = model.network, model.network.grid
    tokens, flow = height * width, flow_of(network)
    middles = [(index + 0.5) / 256 for index in range(256)]
    counts = (
        [tokens - masked_count(tokens, model.mask_ratio.ratio(u)) for u in middles] if visible is None else [visible]
    )
    seen = sum(counts) / len(counts)
    rows = tokens if plain else tokens - seen
    drawn, times = flow.draws * rows, flow.draws * (rows if plain else 1)
    trained = any(parameter.requires_grad for parameter in network.text_tokenizer.parameters())
    flops = {
        "text": ((3 if trained else 1) + plain) * text(network),
        "encoder": sum(3 * encoder(network, count) for count in counts) / len(counts),
        "predictor": sum(3 * predictor(network, n, None if plain else tokens - n) for n in counts) / len(counts),
        "head": 3 * (modulations(flow.head, rows, times, drawn) + denoise(flow.head, drawn)),
        "target": 0.0,
    }
    flops["encoder"] -= linears(network.encoder.embed, seen)  # what comes in has no gradient
    flops["head"] -= linears(flow.head.embed, drawn) + linears(flow.head.embed_time[0], times)
    for objective in network.objectives.values():
        if "features" in objective.reads and objective.weight:
            flops["target"] += encoder(network, tokens) + 3 * linears(objective.mlp, rows)
    return Cost(1.0, flow.draws, flops)


def peak(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second of a large matrix product, the best of five: what the device reaches at all."""
    side = 8192 if device == "cuda" else 1536
    matrix, taken = torch.randn(side, side, device=device, dtype=dtype), []
    for _ in range(5):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / min(taken)

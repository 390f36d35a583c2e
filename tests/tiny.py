"""Small parts with random weights, built as configs build them."""

import contextlib
import copy
import functools
import inspect
from typing import Any

import torch
from mmengine.registry import Registry
from tiny_text import saved
from torch import nn

from jepa_t.model import JEPAT
from jepa_t.registry import FUSIONS, MODELS, OBJECTIVES, TOKENIZERS, build
from jepa_t.structures import Split, Text

WIDTH, TEXT_WIDTH, CHANNELS, LENGTH, REGISTERS = 16, 12, 5, 6, 6
SIZE, GRID, TOKENS = (4, 6), (2, 3), 6  # pixels, and patches of 2 x 2 pixels
CAPTIONS = [
    "a red three on white paper",
    "a blue five on black paper",
    "the green nine",
    "seven",
    "a yellow one on grey paper",
    "red and blue",
    "a three left of five",
    "a five left of three",
    "cyan zero on white",
    "the white two",
    "black eight",
    "a magenta six",
]
OFFERED = {"width": WIDTH, "text_width": TEXT_WIDTH, "channels": CHANNELS, "tokens": TOKENS, "registers": LENGTH + 3}

# For each registered tokenizer a config that is quick to build. The contract tests run over these.
IMAGE_TOKENIZERS: dict[str, dict[str, Any]] = {"PatchTokenizer": {"size": SIZE, "patch": 2}}
TEXT_TOKENIZERS: dict[str, dict[str, Any]] = {
    "TransformerText": {"width": TEXT_WIDTH, "depth": 1, "heads": 2, "length": LENGTH, "vocabulary": 64},
    # Two tokens more than words: the start and the end of the text. Their pretrained models are written when asked for.
    "HFText": {"length": LENGTH + 2, "cache": None},
    "OpenCLIPText": {"length": LENGTH + 2, "cache": None},
}
PRETRAINED = {"HFText": lambda: {"model": saved("bert")}, "OpenCLIPText": lambda: {"model": saved("open_clip")}}
# Options that keep an objective small; the others are built as they are.
OBJECTIVE_OPTIONS: dict[str, dict[str, Any]] = {"FlowMatching": {"head_width": 16, "head_depth": 2, "draws": 2}}


def registered(registry: Registry) -> list[str]:
    """Every name in a registry."""
    registry.import_from_location()
    return sorted(registry.module_dict)


@contextlib.contextmanager
def float64():
    """Build and compute in float64; also a decorator."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter anew, so that no branch is zero and no law holds by the initial values alone."""
    random = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if getattr(parameter, "no_decay", False):
                parameter.copy_(noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
            else:
                parameter.add_(0.3 * noise)
    return module


def random_text(batch: int, seed: int = 0, length: int = LENGTH) -> Text:
    """Captions of 1 to ``length`` - 1 random tokens, padded with noise."""
    random = generator(seed)
    lengths = torch.randint(1, length, (batch, 1), generator=random)
    tokens = torch.randn(batch, length, TEXT_WIDTH, generator=random)
    return Text(tokens, torch.arange(length) < lengths, torch.randn(batch, TEXT_WIDTH, generator=random))


def random_split(batch: int, visible: int, asked: int | None = None, seed: int = 0) -> Split:
    """A random order; all masked tokens are asked for unless ``asked`` says how many."""
    order = torch.rand(batch, TOKENS, generator=generator(seed)).argsort(1)
    return Split(order, visible, TOKENS - visible if asked is None else asked)


def random_tokens(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, TOKENS, CHANNELS, generator=generator(seed))


def random_images(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, *SIZE, generator=generator(seed)) * 2 - 1


def rows(text: Text, index: slice | torch.Tensor) -> Text:
    """Some of the captions."""
    return Text(text.tokens[index], text.valid[index], text.pooled[index])


def make_fusion(name: str, seed: int | None = 0, **options) -> nn.Module:
    """A fusion with random weights; with ``seed`` None as it is built."""
    fusion = build({"type": name, **options}, FUSIONS, **OFFERED)
    return fusion if seed is None else randomise(fusion, seed)


def make_objective(name: str, seed: int = 0, **options) -> nn.Module:
    return randomise(build({"type": name} | OBJECTIVE_OPTIONS.get(name, {}) | options, OBJECTIVES, **OFFERED), seed)


def make_tokenizer(name: str, **options) -> nn.Module:
    return build(tokenizer_config(name, **options), TOKENIZERS)


def tokenizer_config(name: str, **options) -> dict[str, Any]:
    pretrained = PRETRAINED[name]() if name in PRETRAINED else {}
    return {"type": name} | (IMAGE_TOKENIZERS | TEXT_TOKENIZERS)[name] | pretrained | options


def config(**changes) -> dict[str, Any]:
    """A model's config: 6 tokens of 5 channels, width 16."""
    return {
        "type": "JEPAT",
        "width": WIDTH,
        "image_tokenizer": {"type": "PatchTokenizer", "size": SIZE, "patch": 2, "channels": CHANNELS},
        "text_tokenizer": {"type": "TransformerText"} | TEXT_TOKENIZERS["TransformerText"],
        "encoder": {"type": "ContextEncoder", "depth": 1, "heads": 2, "registers": REGISTERS},
        "predictor": {"type": "Predictor", "depth": 2, "heads": 2},
        "objectives": {
            "flow": {"type": "FlowMatching"} | OBJECTIVE_OPTIONS["FlowMatching"],
            "feature": {"type": "FeaturePrediction"},
        },
        "mask_ratio": {"low": 0.3, "std": 0.5},
        "sampler": {"steps": 3, "solver_steps": 3},
    } | changes


def make_model(seed: int = 0, **changes) -> JEPAT:
    """A fitted model with random weights, of which the average is a copy."""
    model = build(config(**changes), MODELS)
    model.fit(random_images(64), CAPTIONS)
    randomise(model.network, seed)
    model.average.load_state_dict(model.network.state_dict())
    return model


@functools.cache
def shared_model(fusion: str = "jepa_t", dtype: torch.dtype = torch.float32) -> JEPAT:
    """One such model for all tests that only look at it."""
    with float64() if dtype == torch.float64 else contextlib.nullcontext():
        return make_model(fusion=fusion)


def copy_of(model: JEPAT) -> JEPAT:
    return copy.deepcopy(model)


def gradients(module: nn.Module) -> dict[str, float]:
    """The largest entry of each parameter's gradient; 0 without one."""
    return {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in module.named_parameters()}


def options_of(component: Any) -> set[str]:
    return set(inspect.signature(component).parameters)

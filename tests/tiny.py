"""Small parts with random weights, built as configs build them."""

import atexit
import contextlib
import copy
import functools
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import Registry
from tiny_text import saved
from torch import nn

from jepa_t.contracts import DiscreteImageTokenizer, Fitted, GenerativeObjective
from jepa_t.model import JEPAT
from jepa_t.registry import FUSIONS, MODELS, OBJECTIVES, TOKENIZERS, build
from jepa_t.sampling import Generators
from jepa_t.structures import Prediction, Split, Target, Text

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


def smooth_images(batch: int, size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    """Images whose patches have large and small components."""
    random = generator(seed)
    coarse = torch.rand(batch, 3, 2, 2, generator=random) * 1.8 - 0.9
    up = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return up + 0.1 * torch.rand(up.shape, generator=random)


QUANTIZED = {"size": SIZE, "stride": 2, "width": 16, "depth": 1, "quantizer": {"name": "FSQ", "levels": (8, 8, 8, 5)}}
DIFFUSERS = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (16, 16),
    "norm_num_groups": 4,
    "latent_channels": 4,
}


@functools.cache
def folder() -> Path:
    """Where tiny files of trained parts lie; it goes with the process."""
    made = tempfile.TemporaryDirectory(prefix="jepa_t_tests_")
    atexit.register(made.cleanup)
    return Path(made.name)


def trained(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """An autoencoder that has learned smooth images, as a checkpoint of its training."""
    torch.manual_seed(0)
    training = build({"type": "TokenizerTraining", "tokenizer": {"type": kind, **options}}, MODELS)
    optimizer, images = torch.optim.Adam(training.parameters(), lr=0.01), smooth_images(256)
    for step in range(120):
        optimizer.zero_grad()
        batch = images[torch.randperm(256, generator=generator(step))[:64]]
        training.tokenizer.loss(batch)["loss_reconstruction"].backward()
        optimizer.step()
    torch.save({"state_dict": training.state_dict()}, folder() / f"{kind}.pth")
    return options | {"checkpoint": str(folder() / f"{kind}.pth")}


@functools.cache
def trained_quantized() -> dict[str, Any]:
    """A quantised one."""
    return trained("QuantizedAutoencoder", QUANTIZED)


@functools.cache
def trained_kl() -> dict[str, Any]:
    """A continuous one."""
    return trained("KLAutoencoder", {"size": SIZE, "stride": 2, "width": 16, "depth": 1, "latent_channels": 4})


@functools.cache
def pretrained_kl() -> dict[str, Any]:
    """A variational autoencoder of random weights as diffusers saves it, with the scale of smooth images."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    model = AutoencoderKL(**DIFFUSERS)
    with torch.no_grad():
        latents = model.encode(smooth_images(256)).latent_dist.mode()
    model.register_to_config(scaling_factor=1 / latents.std().item(), shift_factor=latents.mean().item())
    model.save_pretrained(folder() / "kl")
    return {"source": str(folder() / "kl"), "size": SIZE, "posterior": "mode"}


@functools.cache
def pretrained_vq() -> dict[str, Any]:
    """A vector-quantised autoencoder of random weights as diffusers saves it, whose codes are smooth images'."""
    from diffusers import VQModel

    torch.manual_seed(0)
    model = VQModel(**DIFFUSERS, num_vq_embeddings=96)
    with torch.no_grad():
        latents = model.encode(smooth_images(16)).latents  # 96 in all
        model.quantize.embedding.weight.copy_(latents.movedim(1, -1).flatten(0, -2))
    model.save_pretrained(folder() / "vq")
    return {"source": str(folder() / "vq"), "size": SIZE}


# For each registered tokenizer a config that is quick to build, or what makes one when it is first needed. The
# contract tests run over these.
IMAGE_TOKENIZERS: dict[str, dict[str, Any] | Callable[[], dict[str, Any]]] = {
    "PatchTokenizer": {"size": SIZE, "patch": 2},
    "QuantizedAutoencoder": trained_quantized,
    "KLAutoencoder": trained_kl,
    "KLTokenizer": pretrained_kl,
    "VQTokenizer": pretrained_vq,
}
TEXT_TOKENIZERS: dict[str, dict[str, Any] | Callable[[], dict[str, Any]]] = {
    "TransformerText": {"width": TEXT_WIDTH, "depth": 1, "heads": 2, "length": LENGTH, "vocabulary": 64},
    # Two tokens more than words: the start and the end of the text.
    "HFText": lambda: {"model": saved("bert"), "length": LENGTH + 2, "cache": None},
    "AdaptedText": lambda: tokenizer_config("HFText", width=TEXT_WIDTH, heads=2) | {"type": "AdaptedText"},
    "OpenCLIPText": lambda: {"model": saved("open_clip"), "length": LENGTH + 2, "cache": None},
    "PooledText": lambda: tokenizer_config("OpenCLIPText", width=TEXT_WIDTH) | {"type": "PooledText"},
    "ClassEmbedding": {"names": [*CAPTIONS, "red", "\N{CAT FACE}"], "width": TEXT_WIDTH},
}
DISCRETE = ["QuantizedAutoencoder", "VQTokenizer"]  # those with ids
PRETRAINED = ["KLTokenizer", "VQTokenizer"]  # those whose weights come from elsewhere, here random ones
# Options that keep an objective small; the others are built as they are.
OBJECTIVE_OPTIONS: dict[str, dict[str, Any]] = {
    "FlowMatching": {"head_width": 16, "head_depth": 2, "draws": 2},
    "GaussianDiffusion": {"head_width": 16, "head_depth": 2, "draws": 2},
    "MeanFlow": {"head_width": 16, "head_depth": 2, "draws": 2},
}


class CodedPatches(DiscreteImageTokenizer):
    """The smallest discrete tokenizer: a patch's pixels, by a random linear map, are the nearest of some codes."""

    def __init__(self, size: tuple[int, int] = SIZE, patch: int = 2, codes: int = 9) -> None:
        super().__init__()
        self.patches = build({"type": "PatchTokenizer", "size": size, "patch": patch}, TOKENIZERS)
        self.grid, self.stride, self.channels = self.patches.grid, patch, CHANNELS
        self.codebook_size, self.codes_per_token = codes, 1
        self.register_buffer("codes", torch.randn(codes, CHANNELS, generator=generator(0)))
        self.register_buffer("pixels", torch.randn(CHANNELS, self.patches.channels, generator=generator(1)) / 3)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.codes[ids]

    def snap(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cdist(tokens, self.codes).argmin(-1)

    def quantize(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.embed(self.snap(tokens))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self.embed(self.snap(self.patches.encode(images) @ torch.linalg.pinv(self.pixels)))

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.patches.decode(self.embed(self.snap(tokens)) @ self.pixels)


def registered(registry: Registry) -> list[str]:
    """Every name in a registry."""
    registry.import_from_location()
    return sorted(registry.module_dict)


GENERATIVE = [name for name in registered(OBJECTIVES) if issubclass(OBJECTIVES.get(name), GenerativeObjective)]


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


def seeded(batch: int, seed: int = 0) -> Generators:
    """A source of randomness for each image of a batch."""
    return Generators(range(seed, seed + batch), torch.device("cpu"))


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


def same_text(one: Text, other: Text) -> bool:
    """Equal to the bit, padding too."""
    return all(torch.equal(getattr(one, k), getattr(other, k)) for k in ("tokens", "valid", "pooled"))


def rows(text: Text, index: slice | torch.Tensor) -> Text:
    """Some of the captions."""
    return Text(text.tokens[index], text.valid[index], text.pooled[index])


def make_fusion(name: str, seed: int | None = 0, **options) -> nn.Module:
    """A fusion with random weights; with ``seed`` None as it is built."""
    fusion = build({"type": name, **options}, FUSIONS, **OFFERED)
    return fusion if seed is None else randomise(fusion, seed)


def make_objective(name: str, seed: int = 0, **options) -> nn.Module:
    offered = OFFERED | {"codebook_size": CodedPatches().codebook_size}
    offered = {key: value for key, value in offered.items() if key not in options}
    return randomise(build({"type": name} | OBJECTIVE_OPTIONS.get(name, {}) | options, OBJECTIVES, **offered), seed)


def objective_inputs(seed: int = 0, batch: int = 3, asked: int = 4) -> tuple[Prediction, Target]:
    """What an objective is given, all of it noise."""
    random = generator(seed)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(batch, asked, width, generator=random)

    prediction, target = Prediction(normal(WIDTH), normal(WIDTH)), (normal(CHANNELS), normal(WIDTH))
    ids = torch.randint(CodedPatches().codebook_size, (batch, asked), generator=random)
    return prediction, Target(*target, ids, normal(WIDTH)[: -(-batch // 2)])


def objective_loss(objective: nn.Module, prediction: Prediction, target: Target, seed: int = 0) -> torch.Tensor:
    """All that an objective asks for, summed."""
    return sum(objective(prediction, target, generator(seed)).values())


def overfit(objective: nn.Module, prediction: Prediction, target: Target, steps: int = 300) -> None:
    """Train an objective on the same tokens until it must know them."""
    optimizer = torch.optim.Adam(objective.parameters(), 5e-3)
    for step in range(steps):
        optimizer.zero_grad()
        objective_loss(objective, prediction, target, step).backward()
        optimizer.step()


def make_tokenizer(name: str, **options) -> nn.Module:
    return build(tokenizer_config(name, **options), TOKENIZERS)


def fitted_tokenizer(name: str, **options) -> nn.Module:
    """Fitted where that is its way, to smooth images or to the captions."""
    tokenizer = make_tokenizer(name, **options)
    if isinstance(tokenizer, Fitted) and not tokenizer.fitted:
        tokenizer.fit(smooth_images(256, options.get("size", SIZE)) if name in IMAGE_TOKENIZERS else CAPTIONS)
    return tokenizer


shared_tokenizer = functools.cache(fitted_tokenizer)  # for all tests that only look at it


def tokenizer_config(name: str, **options) -> dict[str, Any]:
    small = (IMAGE_TOKENIZERS | TEXT_TOKENIZERS)[name]
    return {"type": name} | (small() if callable(small) else small) | options


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
        "sampler": {"steps": 3, "draw": {"solver_steps": 3}},
    } | changes


def with_objective(name: str, **changes) -> dict[str, Any]:
    """What makes :func:`config` generate by another objective, over discrete tokens."""
    own = {"type": name} | OBJECTIVE_OPTIONS.get(name, {})
    objectives = {"own": own, "feature": {"type": "FeaturePrediction"}}
    return {"objectives": objectives, "image_tokenizer": {"type": CodedPatches}, "sampler": {"steps": 3}} | changes


def make_model(seed: int = 0, **changes) -> JEPAT:
    """A fitted model with random weights, of which the average is a copy."""
    model = build(config(**changes), MODELS)
    model.fit(random_images(64), CAPTIONS)
    randomise(model.network, seed)
    model.ema.load_state_dict(model.network.state_dict())
    return model


@functools.cache
def shared_model(fusion: str = "jepa_t", dtype: torch.dtype = torch.float32) -> JEPAT:
    """One such model for all tests that only look at it."""
    with float64() if dtype == torch.float64 else contextlib.nullcontext():
        return make_model(fusion=fusion)


def copy_of(model: JEPAT) -> JEPAT:
    return copy.deepcopy(model)


def loss(
    model: JEPAT, images: torch.Tensor | None = None, captions: list[str] | None = None, seed: int = 0
) -> dict[str, torch.Tensor]:
    """The losses of four images, with masks and noise of the seed."""
    torch.manual_seed(seed)
    return model.loss(random_images(4) if images is None else images, CAPTIONS[:4] if captions is None else captions)


def gradients(module: nn.Module) -> dict[str, float]:
    """The largest entry of each parameter's gradient; 0 without one."""
    return {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in module.named_parameters()}


def options_of(component: Any) -> set[str]:
    return set(inspect.signature(component).parameters)

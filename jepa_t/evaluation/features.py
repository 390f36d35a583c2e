"""What is seen in images, by networks that others have trained or by none: what distributions are compared by."""

import hashlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from torch import Tensor, nn

from ..errors import UserError, optional, unknown
from ..files import installed, read_safely, weights_hash
from ..registry import FEATURES
from ..tokenizers.frozen_text import FrozenText
from ..tokenizers.maps import in_float32
from ..tokenizers.open_clip_text import load_open_clip
from ..tokenizers.sources import loading

Features = dict[str, Tensor]
POOLED = {"64": 64, "192": 192, "768": 768, "2048": 2048}  # layers of torch-fidelity's Inception and their widths
SPATIAL = 7  # channels of sFID
CELLS, DIRECTIONS = 4, 6  # of gradient histograms: cells in height and in width, directions of edges


class FeatureExtractor(ABC):
    """A function of images in which they are compared, such as a network that others have trained.

    Attributes:
        prefix: Of the names of the figures.
        width: F, how many features it gives.
        facts: What a reader of the figures must know, such as the weights' hash.
        classifies: Whether it gives ``logits`` as well.
    """

    prefix: str
    width: int
    facts: dict[str, Any]
    classifies = False

    @abstractmethod
    def __call__(self, images: Tensor) -> Features:
        """Images ``[B, 3, H, W]``, uint8, to float32 on the CPU: ``features [B, F]`` and whatever else it gives."""


def full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of an extractor without gradient, autocast or TF32: figures are compared to the third digit."""

    @wraps(function)
    def run(self: Any, images: Tensor) -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                return in_float32(function)(self, images)
        finally:
            torch.set_float32_matmul_precision(before)

    return run


@FEATURES.register_module()
class InceptionFeatures(FeatureExtractor):
    """torch-fidelity's InceptionV3, whose weights and resizing are those of TensorFlow's 2015 network.

    Gives ``features`` (the pooled layer), ``logits`` (without bias: the Inception Score's) and ``spatial`` (the first
    7 channels of ``Mixed_6d.branch1x1`` in the order height, width, channel: ADM's ``mixed_6/conv``, for sFID).

    Args:
        weights: torch-fidelity's ``weights-inception-2015-12-05-6726825d.pth``; None for its usual download.
        layer: ``2048`` for FID; ``64``, ``192`` and ``768`` are for tests and few images.

    Raises:
        UserError: torch-fidelity isn't installed, or the weights are absent, damaged or another network's.
    """

    prefix = ""
    classifies = True

    def __init__(self, weights: str | None = None, layer: str | int = "2048") -> None:
        if str(layer) not in POOLED:
            raise unknown("InceptionFeatures layer", layer, POOLED)
        self.layer, self.width = str(layer), POOLED[str(layer)]
        optional("torch_fidelity", "InceptionFeatures", "fidelity")
        from torch_fidelity import feature_extractor_inceptionv3 as theirs

        path = str(Path(weights).expanduser()) if weights else _download(theirs.URL_INCEPTION_V3)
        read_safely(path)  # torch-fidelity would run what a file tells it to
        asked = [self.layer, "logits_unbiased"]
        with loading(f"InceptionFeatures weights {path!r}"):
            self.network = theirs.FeatureExtractorInceptionV3("inception-v3-compat", asked, path).to(get_device())
        self.network.Mixed_6d.branch1x1.register_forward_hook(self._keep)
        self.facts = {
            "features": f"InceptionV3, layer {self.layer}",
            "features_sha256": weights_hash(self.network),
            "torch_fidelity": installed("torch_fidelity"),
        }

    @full_precision
    def __call__(self, images: Tensor) -> Features:
        """Give ``features [B, F]``, ``logits`` and ``spatial`` of images ``[B, 3, H, W]``, uint8."""
        features, logits = self.network(images.to(get_device()))
        return {"features": features.cpu(), "logits": logits.cpu(), "spatial": self._spatial.cpu()}

    def _keep(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        self._spatial = output[:, :SPATIAL].permute(0, 2, 3, 1).flatten(1).float()


@FEATURES.register_module()
class DINOv2Features(FeatureExtractor):
    """The class token of timm's DINOv2, for FD-DINOv2 (Stein et al., arXiv 2306.04675).

    Args:
        model: A name of timm's, with its tag of weights.
        weights: A file of that model's weights, ``.safetensors`` or ``.pth``; None for timm's usual download.
        size: Side in pixels of what the network sees.

    Raises:
        UserError: The model is unknown, or its weights are absent, damaged or another's.
    """

    prefix = "DINOv2"

    def __init__(
        self, model: str = "vit_large_patch14_dinov2.lvd142m", weights: str | None = None, size: int = 224
    ) -> None:
        import timm

        file = str(Path(weights).expanduser()) if weights else None
        if file and not file.endswith(".safetensors"):
            read_safely(file)
        overlay = {"pretrained_cfg_overlay": {"file": file}} if file else {}
        with loading(f"DINOv2Features model={model!r} weights={weights!r}"):
            network = timm.create_model(model, pretrained=True, num_classes=0, img_size=size, **overlay)
        self.network, self.size, self.width = network.eval().to(get_device()), size, network.num_features
        self.mean, self.std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
        self.facts = {"features": model, "features_sha256": weights_hash(network), "timm": installed("timm")}

    @full_precision
    def __call__(self, images: Tensor) -> Features:
        """Give ``features [B, F]`` of images ``[B, 3, H, W]``, uint8."""
        seen = resized(images.to(get_device()), self.size, self.mean, self.std)
        return {"features": self.network(seen).float().cpu()}


@FEATURES.register_module()
class CLIPFeatures(FeatureExtractor):
    """Image embeddings of length 1 of any open_clip model, and those of captions.

    Args:
        model: An architecture of open_clip, or a folder, as for :class:`~jepa_t.tokenizers.OpenCLIPText`.
        pretrained: A tag or a file of weights, for a named architecture.
        quick_gelu: Whether the weights were trained with QuickGELU; needed for a file.

    Raises:
        UserError: Model or weights are missing, or belong to another architecture or non-linearity.
    """

    prefix = "CLIP"

    def __init__(self, model: str, pretrained: str | None = None, quick_gelu: bool | None = None) -> None:
        network, self.tokenizer, _ = load_open_clip("CLIPFeatures", model, pretrained, quick_gelu)
        self.network, visual = network.float().eval().to(get_device()), network.visual
        side = visual.image_size
        self.size = side if isinstance(side, int) else side[0]
        self.mean, self.std = visual.image_mean, visual.image_std
        self.width = self.texts([""]).shape[1]
        self.facts = {
            "features": f"{model} {pretrained or ''}".strip(),
            "features_sha256": weights_hash(network),
            "open_clip": installed("open_clip_torch"),
        }

    @full_precision
    def __call__(self, images: Tensor) -> Features:
        """Give ``features [B, F]`` of length 1 of images ``[B, 3, H, W]``, uint8."""
        seen = resized(images.to(get_device()), self.size, self.mean, self.std)
        return {"features": self.network.encode_image(seen, normalize=True).float().cpu()}

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Embeddings of captions ``[B, F]`` of length 1; what is beyond the model's length is cut."""
        return self._texts(self.tokenizer(list(captions)))

    @full_precision
    def _texts(self, ids: Tensor) -> Tensor:
        return self.network.encode_text(ids.to(get_device()), normalize=True).float().cpu()

    def refuse_own(self, text_tokenizer: nn.Module) -> None:
        """Refuse to judge images of a model that was conditioned on this very text encoder.

        Raises:
            UserError: The two have one vocabulary table.
        """
        frozen = next((part.tower.encoder for part in text_tokenizer.modules() if isinstance(part, FrozenText)), None)
        theirs, ours = _vocabulary(frozen or text_tokenizer), _vocabulary(self.network)
        if theirs is not None and ours is not None and torch.equal(theirs, ours):
            raise UserError(
                f"CLIP score by {self.facts['features']!r}: the model was conditioned on this text encoder, so it "
                "would be judged by what it was given; use another, such as model='ViT-L-14' pretrained='openai'"
            )


@FEATURES.register_module()
class GradientHistograms(FeatureExtractor):
    """Histograms of oriented gradients and mean colours in 4 x 4 cells: 144 features, with nothing learned in them.

    A pixel's gradient is that of the channel where it is steepest. It counts by its length for the two of six
    directions nearest to its own; the roots of the cells' means are the features, so that faint edges count too.
    Blurred images have shorter gradients, so they are told, which squared differences of pixels hardly do.

    Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, 2005, without their normalisation
    of blocks; the root is Arandjelovic's and Zisserman's (2012).

    Example:
        >>> GradientHistograms()(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))["features"].shape
        torch.Size([2, 144])
    """

    prefix = "HOG"
    width = CELLS**2 * (DIRECTIONS + 3)

    def __init__(self) -> None:
        name = f"gradient histograms, {CELLS} x {CELLS} cells, {DIRECTIONS} directions, colours"
        self.facts = {"features": name, "features_sha256": hashlib.sha256(name.encode()).hexdigest()}

    @full_precision
    def __call__(self, images: Tensor) -> Features:
        """Features ``[B, F]`` of images of 8 x 8 pixels or more, as the class describes them."""
        x = images.float().cpu() / 255
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2  # [B, 3, H, W]
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        length, steepest = torch.hypot(across, down).max(1, keepdim=True)
        angle = torch.atan2(down, across).gather(1, steepest) / math.pi * DIRECTIONS
        directions = torch.arange(DIRECTIONS).view(1, -1, 1, 1)
        apart = (angle - directions).remainder(DIRECTIONS)  # on the circle of directions
        share = (1 - torch.minimum(apart, DIRECTIONS - apart)).clamp(min=0)  # [B, DIRECTIONS, H, W]
        edges = F.adaptive_avg_pool2d(share * length, CELLS).sqrt()
        colours = F.adaptive_avg_pool2d(x, CELLS)
        return {"features": torch.cat([edges, colours], 1).flatten(1)}


def resized(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """What a Transformer sees of images ``[B, 3, H, W]``, uint8: PIL's bicubic resizing of the shorter side, the
    centre square, normalised ``[B, 3, size, size]``."""
    height, width = images.shape[2:]
    scale = size / min(height, width)
    shape = max(round(height * scale), size), max(round(width * scale), size)
    x = F.interpolate(images.float(), shape, mode="bicubic", antialias=True).round().clamp(0, 255) / 255
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    x = x[:, :, top : top + size, left : left + size]
    return (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]


def extract(extractor: Callable[[Tensor], Features], images: Sequence[Tensor]) -> Features:
    """Features of images ``[3, H, W]``, uint8, of any sizes, each size at once."""
    shapes = [image.shape for image in images]
    rows: list[tuple[int, Features]] = []
    for shape in dict.fromkeys(shapes):
        places = [place for place, found in enumerate(shapes) if found == shape]
        found = extractor(torch.stack([images[place] for place in places]))
        rows += [(place, {name: value[row] for name, value in found.items()}) for row, place in enumerate(places)]
    ordered = [features for _, features in sorted(rows, key=lambda row: row[0])]
    return {name: torch.stack([features[name] for features in ordered]) for name in ordered[0]}


def _vocabulary(module: nn.Module) -> Tensor | None:
    """The table of a text encoder with most rows, which is that of its vocabulary."""
    tables = [m.weight for m in module.modules() if isinstance(m, nn.Embedding)]
    return max((table.detach().float().cpu() for table in tables), key=len, default=None)


def _download(url: str) -> str:
    """A file of torch-fidelity's, where it would keep it."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with redirect_stdout(sys.stderr):
                torch.hub.download_url_to_file(url, str(path), path.stem.rsplit("-", 1)[1], progress=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"InceptionFeatures can't download its weights ({error}); fetch {url} elsewhere "
                "and set features.weights to the file"
            ) from error
    return str(path)

"""Tiny pretrained judges of images with random weights, in the real file formats; written once, when asked for.

Importing this makes torch-fidelity's Inception look at images of 75 pixels, the least it can, instead of 299: a
sixteenth of the work, in the same layers.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny import folder, generator
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

FeatureExtractorInceptionV3.INPUT_IMAGE_SIZE = 75


@functools.cache
def inception_weights() -> str:
    """A file such as ``weights-inception-2015-12-05-6726825d.pth``."""
    path = folder() / "inception.pth"
    torch.save({}, path)
    load, FeatureExtractorInceptionV3.load_state_dict = FeatureExtractorInceptionV3.load_state_dict, lambda *_: None
    try:
        network = FeatureExtractorInceptionV3("random", ["2048"], str(path))
    finally:
        FeatureExtractorInceptionV3.load_state_dict = load
    random = generator(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:  # activations of about 1 in all layers, and logits that differ
            parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=random)
    network.fc.weight.mul_(4)
    torch.save(network.state_dict(), path)
    return str(path)


def inception(layer: str = "64") -> dict[str, str]:
    """The config of that extractor."""
    return {"type": "InceptionFeatures", "weights": inception_weights(), "layer": layer}


def write_folder(path: Path, count: int, seed: int, contrast: float = 60.0, side: int = 24) -> Path:
    """Smooth coloured images as PNG files."""
    path.mkdir(parents=True)
    coarse = np.random.default_rng(seed).normal(128, contrast, (count, 4, 4, 3)).clip(0, 255).astype(np.uint8)
    for index, pixels in enumerate(coarse):
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path / f"{index:06d}.png")
    return path

"""Raw data to tokens and back: images and captions."""

from .hf_text import HFText
from .kl import KLTokenizer
from .open_clip_text import OpenCLIPText
from .patch import PatchTokenizer
from .quantized_autoencoder import QuantizedAutoencoder, TokenizerTraining
from .transformer_text import TransformerText
from .vq import VQTokenizer

__all__ = [
    "HFText",
    "KLTokenizer",
    "OpenCLIPText",
    "PatchTokenizer",
    "QuantizedAutoencoder",
    "TokenizerTraining",
    "TransformerText",
    "VQTokenizer",
]

"""Raw data to tokens and back: images and captions."""

from .kl import KLTokenizer
from .patch import PatchTokenizer
from .quantized_autoencoder import QuantizedAutoencoder, TokenizerTraining
from .transformer_text import TransformerText
from .vq import VQTokenizer

__all__ = [
    "KLTokenizer",
    "PatchTokenizer",
    "QuantizedAutoencoder",
    "TokenizerTraining",
    "TransformerText",
    "VQTokenizer",
]

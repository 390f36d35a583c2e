"""Raw data to tokens and back: images and captions."""

from .patch import PatchTokenizer
from .quantized_autoencoder import QuantizedAutoencoder, TokenizerTraining
from .transformer_text import TransformerText

__all__ = ["PatchTokenizer", "QuantizedAutoencoder", "TokenizerTraining", "TransformerText"]

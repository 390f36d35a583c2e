"""Raw data to tokens and back: images and captions."""

from .class_embedding import ClassEmbedding
from .hf_text import AdaptedText, HFText
from .kl import KLTokenizer
from .kl_autoencoder import KLAutoencoder
from .open_clip_text import OpenCLIPText
from .patch import PatchTokenizer
from .pooled_text import PooledText
from .quantized_autoencoder import QuantizedAutoencoder
from .training import TokenizerTraining
from .transformer_text import TransformerText
from .vq import VQTokenizer

__all__ = [
    "AdaptedText",
    "ClassEmbedding",
    "HFText",
    "KLAutoencoder",
    "KLTokenizer",
    "OpenCLIPText",
    "PatchTokenizer",
    "PooledText",
    "QuantizedAutoencoder",
    "TokenizerTraining",
    "TransformerText",
    "VQTokenizer",
]

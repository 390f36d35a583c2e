"""Raw data to tokens and back: images and captions."""

from .patch import PatchTokenizer
from .transformer_text import TransformerText

__all__ = ["PatchTokenizer", "TransformerText"]

"""Raw data to tokens and back: images and captions."""

from .hf_text import HFText
from .patch import PatchTokenizer
from .transformer_text import TransformerText

__all__ = ["HFText", "PatchTokenizer", "TransformerText"]

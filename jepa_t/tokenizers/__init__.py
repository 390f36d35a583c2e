"""Raw data to tokens and back: images and captions."""

from .hf_text import HFText
from .open_clip_text import OpenCLIPText
from .patch import PatchTokenizer
from .transformer_text import TransformerText

__all__ = ["HFText", "OpenCLIPText", "PatchTokenizer", "TransformerText"]

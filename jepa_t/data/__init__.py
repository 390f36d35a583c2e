"""Captions and images."""

from .captions import Captions
from .digit_prompts import DigitPrompts
from .digits import InkedDigits, keep_batch
from .shapes import ShapePrompts, ShapeScenes

__all__ = ["Captions", "DigitPrompts", "InkedDigits", "ShapePrompts", "ShapeScenes", "keep_batch"]

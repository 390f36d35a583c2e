"""Captions and images."""

from .digit_prompts import DigitPrompts
from .digits import InkedDigits, keep_batch
from .shapes import ShapePrompts, ShapeScenes

__all__ = ["DigitPrompts", "InkedDigits", "ShapePrompts", "ShapeScenes", "keep_batch"]

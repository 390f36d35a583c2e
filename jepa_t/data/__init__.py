"""Captions and images."""

from .captions import Captions
from .class_prompts import ClassPrompts
from .digit_prompts import DigitPrompts
from .digits import InkedDigits, keep_batch
from .shapes import ShapePrompts, ShapeScenes

__all__ = ["Captions", "ClassPrompts", "DigitPrompts", "InkedDigits", "ShapePrompts", "ShapeScenes", "keep_batch"]

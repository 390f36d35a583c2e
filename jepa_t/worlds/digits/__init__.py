"""Inked digits: real handwritten digits in coloured ink on coloured paper, each with a sentence that says so."""

from .dataset import InkedDigits
from .labels import LabelledDigits
from .metric import DigitsMetric
from .prompts import DigitPrompts

__all__ = ["DigitPrompts", "DigitsMetric", "InkedDigits", "LabelledDigits"]

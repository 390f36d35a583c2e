"""Is it any good?"""

from .digits import DigitsMetric
from .reconstruction import ReconstructionMetric
from .shapes import ShapesMetric

__all__ = ["DigitsMetric", "ReconstructionMetric", "ShapesMetric"]

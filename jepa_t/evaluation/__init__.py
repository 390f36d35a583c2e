"""Is it any good?"""

from .digits import DigitsMetric
from .shapes import ShapesMetric

__all__ = ["DigitsMetric", "ShapesMetric"]

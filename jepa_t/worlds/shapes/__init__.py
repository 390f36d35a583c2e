"""ShapeScenes: coloured shapes on a plain background, whose captions need word order."""

from .dataset import ShapeScenes
from .metric import ShapesMetric
from .prompts import ShapePrompts

__all__ = ["ShapePrompts", "ShapeScenes", "ShapesMetric"]

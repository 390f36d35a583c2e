"""ShapeScenes: coloured shapes on a plain background, whose captions need word order."""

from .dataset import ShapeScenes
from .labels import LabelledShapes
from .metric import ShapesMetric
from .prompts import ShapePrompts

__all__ = ["LabelledShapes", "ShapePrompts", "ShapeScenes", "ShapesMetric"]

"""Is it any good?"""

from .clip_score import CLIPScoreMetric
from .digits import DigitsMetric
from .distribution import DistributionMetric
from .features import CLIPFeatures, DINOv2Features, InceptionFeatures
from .generation import GenerationLoop
from .reconstruction import ReconstructionMetric
from .shapes import ShapesMetric

__all__ = [
    "CLIPFeatures",
    "CLIPScoreMetric",
    "DINOv2Features",
    "DigitsMetric",
    "DistributionMetric",
    "GenerationLoop",
    "InceptionFeatures",
    "ReconstructionMetric",
    "ShapesMetric",
]

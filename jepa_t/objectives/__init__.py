"""What is learned: generation (flow matching) and feature prediction (JEPA)."""

from .denoising_head import DenoisingHead
from .feature_prediction import FeaturePrediction
from .flow_matching import FlowMatching, interpolate

__all__ = ["DenoisingHead", "FeaturePrediction", "FlowMatching", "interpolate"]

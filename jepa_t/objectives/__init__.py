"""What is learned: generation (flow matching, Gaussian diffusion, codes) and feature prediction (JEPA)."""

from .denoising_head import DenoisingHead
from .feature_prediction import FeaturePrediction
from .flow_matching import FlowMatching, interpolate
from .gaussian_diffusion import GaussianDiffusion, NoiseSchedule, gaussian_kl
from .mean_flow import MeanFlow
from .token_cross_entropy import TokenCrossEntropy, choose

__all__ = [
    "DenoisingHead",
    "FeaturePrediction",
    "FlowMatching",
    "GaussianDiffusion",
    "MeanFlow",
    "NoiseSchedule",
    "TokenCrossEntropy",
    "choose",
    "gaussian_kl",
    "interpolate",
]

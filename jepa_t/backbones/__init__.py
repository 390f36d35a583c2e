"""Tokens to features: the context encoder (its average is the target encoder) and the feature predictor."""

from .context_encoder import ContextEncoder
from .predictor import Predictor

__all__ = ["ContextEncoder", "Predictor"]

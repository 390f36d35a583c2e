"""Public checkpoints as ours."""

from .autoencoder import convert_autoencoder
from .network import Row, convert_network

__all__ = ["Row", "convert_autoencoder", "convert_network"]

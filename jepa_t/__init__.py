"""JEPA-T: text-to-image generation with a joint-embedding predictive Transformer, in swappable parts.

Public names, in the order in which data meets them; each is imported when it is first asked for.
"""

import importlib
from typing import Any

_HOMES = {
    "PatchTokenizer": "tokenizers",
    "QuantizedAutoencoder": "tokenizers",
    "KLTokenizer": "tokenizers",
    "VQTokenizer": "tokenizers",
    "TransformerText": "tokenizers",
    "HFText": "tokenizers",
    "OpenCLIPText": "tokenizers",
    "PooledText": "tokenizers",
    "ClassEmbedding": "tokenizers",
    "Text": "structures",
    "Split": "structures",
    "ContextEncoder": "backbones",
    "Predictor": "backbones",
    "Prediction": "structures",
    "Target": "structures",
    "FlowMatching": "objectives",
    "GaussianDiffusion": "objectives",
    "TokenCrossEntropy": "objectives",
    "FeaturePrediction": "objectives",
    "JEPAT": "model",
    "MaskedSampler": "sampling",
    "Pipeline": "pipeline",
    "TOKENIZERS": "registry",
    "BACKBONES": "registry",
    "FUSIONS": "registry",
    "OBJECTIVES": "registry",
    "SAMPLERS": "registry",
    "UserError": "errors",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jepa_t' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)

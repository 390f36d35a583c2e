"""JEPA-T: text-to-image generation with a joint-embedding predictive Transformer, in swappable parts.

Public names, in the order in which data meets them; each is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see
    from .backbones import ContextEncoder as ContextEncoder
    from .backbones import Predictor as Predictor
    from .errors import UserError as UserError
    from .model import JEPAT as JEPAT
    from .objectives import FeaturePrediction as FeaturePrediction
    from .objectives import FlowMatching as FlowMatching
    from .objectives import GaussianDiffusion as GaussianDiffusion
    from .objectives import MeanFlow as MeanFlow
    from .objectives import TokenCrossEntropy as TokenCrossEntropy
    from .pipeline import Pipeline as Pipeline
    from .registry import BACKBONES as BACKBONES
    from .registry import FUSIONS as FUSIONS
    from .registry import OBJECTIVES as OBJECTIVES
    from .registry import SAMPLERS as SAMPLERS
    from .registry import TOKENIZERS as TOKENIZERS
    from .sampling import MaskedSampler as MaskedSampler
    from .structures import Prediction as Prediction
    from .structures import Split as Split
    from .structures import Target as Target
    from .structures import Text as Text
    from .tokenizers import ClassEmbedding as ClassEmbedding
    from .tokenizers import HFText as HFText
    from .tokenizers import KLTokenizer as KLTokenizer
    from .tokenizers import OpenCLIPText as OpenCLIPText
    from .tokenizers import PatchTokenizer as PatchTokenizer
    from .tokenizers import PooledText as PooledText
    from .tokenizers import QuantizedAutoencoder as QuantizedAutoencoder
    from .tokenizers import TransformerText as TransformerText
    from .tokenizers import VQTokenizer as VQTokenizer

    __version__: str

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
    "MeanFlow": "objectives",
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
    if name == "__version__":
        from importlib.metadata import version

        return version("jepa_t")
    if name not in _HOMES:
        raise AttributeError(f"module 'jepa_t' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)

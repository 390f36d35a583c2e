"""Where text meets image tokens.

A fusion is a module ``(x [B, K, D], text) -> [B, K, D]`` at one of six named sites:

| site | x |
|---|---|
| ``encoder`` | the registers, before the context encoder |
| ``context`` | registers and visible tokens, projected for the predictor, before the mask queries join them |
| ``predictor`` | the predictor's input: registers and image tokens |
| ``blocks`` | the output of each of the predictor's blocks; a module each |
| ``features`` | the predictor's output |
| ``objective`` | the condition, just before the objectives |

It ignores the text's padding and, where it adds to a trained stream, starts as the identity.
"""

from .add import Add
from .concat import Concat
from .cross_attention import CrossAttention
from .film import FiLM
from .in_context import InContext
from .sites import PRESETS, SITES, Fusion, per_caption

__all__ = ["PRESETS", "SITES", "Add", "Concat", "CrossAttention", "FiLM", "Fusion", "InContext", "per_caption"]

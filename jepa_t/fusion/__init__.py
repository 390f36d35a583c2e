"""Where text meets image tokens.

A fusion is a module ``(x, text) -> x`` at one of six named sites, and keeps the shape that ``x`` has there:

| site | x |
|---|---|
| ``encoder`` | the registers ``[B, R, D]``, before the context encoder |
| ``context`` | encoded registers and visible tokens ``[B, R + V, D]``, before the mask queries join them |
| ``predictor`` | the predictor's input ``[B, R + N, D]`` |
| ``blocks`` | after each of the predictor's blocks ``[B, R + N, D]``, after the last ``[B, K, D]``; a module each |
| ``features`` | the predictor's output ``[B, K, D]`` |
| ``objective`` | the condition ``[B, K, D]``, just before the objectives |

It ignores the text's padding and, where it adds to a trained stream, starts as the identity.
"""

from .add import Add
from .concat import Concat
from .cross_attention import CrossAttention
from .film import FiLM
from .in_context import InContext, TextTokens
from .sites import NO_ATTENTION, PRESETS, SITES, Fusion, Look, per_caption

__all__ = [
    "NO_ATTENTION",
    "PRESETS",
    "SITES",
    "Add",
    "Concat",
    "CrossAttention",
    "FiLM",
    "Fusion",
    "InContext",
    "Look",
    "TextTokens",
    "per_caption",
]

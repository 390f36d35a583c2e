"""What text tokenizers share: refusing in the same words, and captions of a single token."""

import torch
from torch import Tensor

from ..errors import UserError
from ..structures import Text


def checked(caption: object) -> str:
    """The caption, if it is a text that says something.

    Raises:
        UserError: It is no text, empty, or has half a character (a lone surrogate, as broken JSON gives).
    """
    if not isinstance(caption, str):
        raise UserError(f"a caption is a text, got {caption!r}")
    if any("\ud800" <= character <= "\udfff" for character in caption):
        raise UserError(f"the caption {caption!r} has half a character; write its file as UTF-8")
    if not caption.strip():
        raise UserError("a caption is empty; write at least a word")
    return caption


def check_count(caption: str, count: int, length: int) -> None:
    """Compare a caption's tokens with what the model reads.

    Raises:
        UserError: There are none (such as for a lone control character), or more than ``length``.
    """
    if not count:
        raise UserError(f"the caption {caption!r} has nothing to read; write at least a word")
    if count > length:
        raise UserError(f"the caption {caption[:40]!r}... has {count} tokens and the model reads {length}; shorten it")


def one_token(vectors: Tensor) -> Text:
    """Captions that are a vector each ``[B, E]``: it is their only token and the pooled vector."""
    return Text(vectors[:, None], torch.ones_like(vectors[:, :1], dtype=torch.bool), vectors)

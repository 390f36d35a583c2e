"""What every text tokenizer refuses, in the same words."""

from ..errors import UserError


def checked(caption: object) -> str:
    """The caption, if it is a text that says something.

    Raises:
        UserError: It is no text, or empty.
    """
    if not isinstance(caption, str):
        raise UserError(f"a caption is a text, got {caption!r}")
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

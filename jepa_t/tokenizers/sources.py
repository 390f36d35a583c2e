"""What is said of parts that come from files: that one can't be read, or isn't the one that was trained with."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError

SAID = 240  # characters that are told of another library's error


def in_one_line(error: Exception) -> str:
    """The beginning of what an error says, without its line breaks; its kind where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < SAID else f"{text[:SAID]} ..."


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn whatever a library raises while it loads ``what`` into one line.

    Raises:
        UserError: It failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a missing or damaged file can fail anywhere in the reader
        raise UserError(f"{what} can't be loaded: {in_one_line(error)}") from error


def digits(sha256: Sequence[int]) -> str:
    """A hash as people compare it."""
    return f"{bytes(sha256).hex()[:12]}... (SHA-256)"


def identify(
    module: nn.Module,
    name: str,
    value: Sequence[int],
    what: str,
    remedy: str,
    show: Callable[[Sequence[int]], str] = digits,
) -> None:
    """Keep in the module's state what it must be, and refuse a state that says otherwise.

    Args:
        module: Gets the buffer.
        name: Of the buffer.
        value: Bytes, such as those of a hash, or whole numbers.
        what: What they tell apart, for the message.
        remedy: For the message.
        show: How the message writes such a value.
    """
    expected = list(value)
    module.register_buffer(name, torch.tensor(expected, dtype=torch.uint8 if isinstance(value, bytes) else torch.int64))

    def check(_module: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
        found = state.get(f"{prefix}{name}")
        if found is not None and found.tolist() != expected:
            theirs, ours = show(found.tolist()), show(expected)
            raise UserError(f"the checkpoint was trained with {what} {theirs}, here it is {ours}; {remedy}")

    module.register_load_state_dict_pre_hook(check)

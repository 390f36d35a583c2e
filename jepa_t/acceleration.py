"""What makes the same numbers come sooner: compiled blocks, and weights that are cast once."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .errors import UserError
from .layers import Block
from .objectives.denoising_head import ResidualBlock

HALF = (torch.bfloat16, torch.float16)
_LOCK = threading.Lock()
_CASTS: WeakKeyDictionary[nn.Module, tuple[int, list[tuple[Tensor, Tensor]]]] = WeakKeyDictionary()


def check_dtype(dtype: object) -> None:
    """See that a model's weights can be of a precision; None leaves them as they are.

    Raises:
        UserError: They can't.
    """
    if dtype is not None and dtype not in (torch.float32, *HALF):
        raise UserError(f"dtype is {dtype!r}; use torch.float32, torch.bfloat16 or torch.float16")


def compile_blocks(module: nn.Module) -> None:
    """Compile each block of the Transformers and of the denoising head, when it is first called.

    Blocks share what is compiled. Training, evaluation and sampling meet about 20 kinds of inputs: with and without
    gradients, padding, guidance; one image or many; one token or many, of whose number compiled code asks no more.
    PyTorch gives up after 8 and goes on uncompiled, without a word in a log that is not its own.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 32)
    for part in module.modules():
        if isinstance(part, (Block, ResidualBlock)):
            part.compile()


@contextmanager
def cast_once(network: nn.Module, device: str) -> Iterator[None]:
    """Under autocast, cast the linear layers' weights once; autocast itself does so at each call of a frozen layer.

    What is computed stays the same. Threads inside at once share the casts, which the last one takes back; until then
    none can draw without autocast.
    """
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        yield
        return
    with _LOCK:
        users, kept = _CASTS.get(network) or (0, _cast(network, torch.get_autocast_dtype(device)))
        _CASTS[network] = users + 1, kept
    try:
        yield
    finally:
        with _LOCK:
            users, kept = _CASTS.pop(network)
            if users > 1:
                _CASTS[network] = users - 1, kept
            else:
                for parameter, value in kept:
                    parameter.data = value


def autocast_of(network: nn.Module) -> AbstractContextManager:
    """Autocast to the precision of a network's weights, where that is half; elsewhere whatever holds already."""
    weight = next(parameter for parameter in network.parameters() if parameter.ndim > 1)
    if weight.dtype not in HALF or torch.is_autocast_enabled(weight.device.type):
        return nullcontext()
    return torch.autocast(weight.device.type, weight.dtype)


def _cast(network: nn.Module, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Cast the linear layers' weights, and return them with what they were."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    kept = [(parameter, parameter.data) for module in linear for parameter in module.parameters()]
    for parameter, value in kept:
        parameter.data = value.to(dtype)
    return kept

"""What a discrete image tokenizer lends to an objective that thinks in ids."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Borrowed:
    """A method of a module that belongs to someone else: called in fp32, never registered or copied along.

    A copy of the borrower goes on with the same owner, or with the owner's copy where both were copied together.

    Args:
        owner: The module.
        name: Of its method.
    """

    owner: nn.Module
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """The method's result, whatever autocast says: half precision would snap to the wrong code."""
        device = x.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            return getattr(self.owner, self.name)(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Borrowed":
        return Borrowed(memo.get(id(self.owner), self.owner), self.name)


def codebook(tokenizer: nn.Module) -> dict[str, Any]:
    """``codebook_size``, ``embed`` (ids ``[...]`` to tokens ``[..., C]``) and ``snap``, its inverse, which takes any
    tokens to the nearest code; nothing from a continuous tokenizer, or one that groups codes into tokens."""
    if not hasattr(tokenizer, "codebook_size") or getattr(tokenizer, "patch", 1) > 1:
        return {}
    borrowed = {name: Borrowed(tokenizer, name) for name in ("embed", "snap")}
    return {"codebook_size": tokenizer.codebook_size, **borrowed}

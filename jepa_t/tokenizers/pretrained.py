"""Image tokenizers that others have trained: read from files without executing anything, then frozen.

Where weights live follows one rule. A tokenizer that is fitted or trained here (`PatchTokenizer`,
`QuantizedAutoencoder`) is part of the model that uses it, and so of its checkpoints. One that comes from elsewhere
(`KLTokenizer`, `VQTokenizer`) stays where it came from: checkpoints hold its hash alone, and refuse another.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, optional
from .sources import identify, loading, local_folder


class Frozen(nn.Module):
    """A module outside of everything but its own use: no parameters to train, average, exchange or save.

    It evaluates always, and moves between devices with the module that holds it. Saved is its hash.

    Args:
        module: What is frozen.
        source: Where it came from, for the message when another hash is loaded.
    """

    module: Any
    sha256: Tensor

    def __init__(self, module: nn.Module, source: str) -> None:
        from ..files import weights_hash

        super().__init__()
        self.__dict__["module"] = module.requires_grad_(False).eval()  # not a submodule, so that no one finds it
        remedy = f"{source!r} isn't the image_tokenizer.source it had"
        identify(self, "sha256", bytes.fromhex(weights_hash(module)), "the image tokenizer", remedy)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        self.module._apply(fn, recurse)
        return super()._apply(fn, recurse)


def load_pretrained(kind: str, source: str, subfolder: str | None, name: str) -> Any:
    """A model of diffusers, in fp32, from safetensors alone.

    Args:
        kind: Its class, such as ``AutoencoderKL``.
        source: A local folder written by ``save_pretrained``, or a name on the hub.
        subfolder: Where in the source the model lies.
        name: The component that asks, for messages.

    Raises:
        UserError: diffusers isn't installed, or the source is absent, damaged or of another kind.
    """
    diffusers = optional("diffusers", name, "pretrained")
    what = f"{name} source {source!r}"
    folder = local_folder(source, what, subfolder)
    with loading(f"{what} as {kind}"):
        model, report = getattr(diffusers, kind).from_pretrained(
            folder,
            subfolder=subfolder,
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report[problem]:
            wrong = f"{problem.split('_')[0]} {sorted(report[problem])[0]}"
            raise UserError(f"{what} is no whole {kind}: {wrong}")
    return model

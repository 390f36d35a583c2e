"""Tokenizers that are trained by themselves: the model that MMEngine trains, and what reads its checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contracts import ImageTokenizer, TrainedTokenizer
from ..errors import UserError
from ..files import CONFIG, CONFIGS, WEIGHTS, check_weights, find_checkpoint, load_checkpoint, located, read_json
from ..registry import MODELS, TOKENIZERS, build
from ..trainable import Trainable
from .discrete import DiscreteTokenizer

OWNERS = "tokenizer.", "image_tokenizer."  # what a tokenizer's weights are called in its own training, and in a model


def reconstruction_losses(painted: Tensor, images: Tensor, absolute: float) -> dict[str, Tensor]:
    """``loss_reconstruction``, the mean square error; and ``absolute`` times the mean absolute one, unless it is 0."""
    losses = {"loss_reconstruction": F.mse_loss(painted, images)}
    return losses | ({"loss_absolute": absolute * F.l1_loss(painted, images)} if absolute else {})


def trained_checkpoint(name: str, where: str | None) -> str:
    """The file of a trained tokenizer, which the message calls ``name``.

    Args:
        name: The tokenizer's.
        where: A work dir or a file, of its own training or of a model that has it; or the name of a model that comes
            with the library, such as ``emoji``.

    Raises:
        UserError: There is none; the message says how to train one.
    """
    own = Path(where or "").name
    config = own if (CONFIGS / "tokenizers" / f"{own}.py").is_file() else "fsq_digits"
    first = f"train it first, such as: jepa-t train tokenizers/{config}"
    if where is None:
        raise UserError(f"{name} names no checkpoint; {first}")
    saved = located(Path(where).expanduser()) / WEIGHTS
    if saved.is_file():
        return str(saved)
    try:
        return find_checkpoint(where)
    except UserError as error:
        raise UserError(f"{name} has no checkpoint at {where!r}; {first}") from error


def read_trained(tokenizer: ImageTokenizer, where: str | None) -> None:
    """Load what :class:`TokenizerTraining` has saved, or a model that has such a tokenizer.

    Raises:
        UserError: There is no checkpoint, or it is damaged or of another architecture.
    """
    path = trained_checkpoint(type(tokenizer).__name__, where)
    checkpoint = load_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint)
    found = ({n.removeprefix(owner): value for n, value in state.items() if n.startswith(owner)} for owner in OWNERS)
    weights = next(filter(None, found), state)
    _tell_other_size(tokenizer, checkpoint, path)
    check_weights(tokenizer.state_dict(), weights, path)
    tokenizer.load_state_dict(weights)


def _tell_other_size(tokenizer: ImageTokenizer, checkpoint: Mapping[str, Any], path: str) -> None:
    """Warn where convolutions would run at another size than they were trained at, which they do without complaint."""
    beside, config = Path(path).with_name(CONFIG), checkpoint.get("meta", {}).get("model", {})
    if path.endswith(WEIGHTS) and beside.is_file():
        config = read_json(beside, "get it again")
    own = config.get("tokenizer") or config.get("image_tokenizer")
    size = own.get("size") if isinstance(own, Mapping) else None
    ours = tuple(side * tokenizer.stride for side in tokenizer.grid)
    trained = tuple(size) if isinstance(size, (list, tuple)) else ours
    if trained != ours:
        before, now = (" x ".join(map(str, size)) for size in (trained, ours))
        logging.getLogger("jepa_t").warning(
            "the tokenizer in %s was trained at %s pixels and now reads %s; train one at that size for clean images",
            path,
            before,
            now,
        )


@MODELS.register_module()
class TokenizerTraining(Trainable):
    """A tokenizer on its own: what ``jepa-t train`` trains and ``jepa-t test`` measures.

    Args:
        tokenizer: Config of a tokenizer that has a ``loss``.

    Raises:
        UserError: The config is wrong, or its tokenizer has nothing to train.
    """

    def __init__(self, tokenizer: dict) -> None:
        super().__init__()
        self.tokenizer = build(tokenizer, TOKENIZERS)
        if not isinstance(self.tokenizer, TrainedTokenizer):
            raise UserError(f"{type(self.tokenizer).__name__} isn't trained this way; use QuantizedAutoencoder")

    def losses(self, inputs: Tensor, samples: Mapping[str, list]) -> dict[str, Tensor]:  # noqa: ARG002 - images suffice
        """The tokenizer's losses of images ``[B, 3, H, W]`` in [-1, 1]."""
        return self.tokenizer.loss(inputs)

    @torch.no_grad()
    def predict(self, inputs: Tensor, samples: Mapping[str, list]) -> dict[str, Any]:  # noqa: ARG002 - images suffice
        """The reconstruction of each image; of a discrete tokenizer also its ids and how many codes there are."""
        columns: dict[str, Any] = {"image": self.tokenizer.decode(self.tokenizer.encode(inputs)).clamp(-1, 1)}
        if isinstance(self.tokenizer, DiscreteTokenizer):
            columns["ids"] = self.tokenizer.find_ids(inputs).flatten(1)
            columns["codebook_size"] = [self.tokenizer.codebook_size] * len(inputs)
        return columns

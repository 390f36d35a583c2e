"""MMEngine's entrance to what it trains and evaluates."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from .errors import UserError


class Trainable(BaseModel, ABC):
    """A model that MMEngine's runner calls by mode, with a batch that ``keep_batch`` has laid out in columns."""

    @abstractmethod
    def losses(self, inputs: Any, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Named losses of a batch: what training minimises is the sum of those whose names contain ``loss``."""

    @abstractmethod
    def predict(self, inputs: Any, samples: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the metrics read of each sample besides its own fields, in columns."""

    def forward(self, inputs: Any, data_samples: dict[str, list], mode: str) -> Any:
        """``loss`` gives :meth:`losses`; ``predict`` gives a dict for each sample.

        Raises:
            UserError: Another mode.
        """
        if mode == "loss":
            return self.losses(inputs, data_samples)
        if mode == "predict":
            columns = {**data_samples, **self.predict(inputs, data_samples)}
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        raise UserError(f"{type(self).__name__} mode is {mode!r}; use 'loss' or 'predict'")


def joined(parts: Iterable[tuple[str, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The named losses of several objectives, given by their names, as one.

    Raises:
        UserError: Two have a loss of one name, of which one would be lost.
    """
    found: dict[str, Tensor] = {}
    for objective, losses in parts:
        for name in found.keys() & losses.keys():
            raise UserError(f"model.objectives.{objective} gives {name!r}, as another objective does; rename one")
        found |= losses
    return found


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, whether or not it is wrapped for several processes."""
    return model.module if is_model_wrapper(model) else model

"""Trained models as files: a training's checkpoint, its work dir, or a folder of config.json and model.safetensors.

What is read is not trusted: nothing in it is executed, components are found by registered names alone, and a config
that asks for far more memory than its weights have is refused.
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import Registry
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import hub, registry
from .changes import trained_otherwise
from .errors import UserError, first_line
from .files import (
    CONFIG,
    WEIGHTS,
    check_weights,
    find_checkpoint,
    load_checkpoint,
    located,
    read_json,
    read_safely,
    shipped_models,
    write_atomically,
    write_weights,
)
from .model import JEPAT

CARD = hub.CARD
NUMBERS, TENSORS = 2**29, 2**16  # that a config may make besides its weights, such as a frozen text encoder's: 2 GB
TIMES = 64  # as many for each of its weights: they are made, initialised and copied

FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}


def load_model(path: str | Path, config: dict[str, Any] | None = None) -> tuple[JEPAT, dict[str, Any]]:
    """A trained model, on the CPU, and the config it was built from.

    Args:
        path: As :func:`find_model` takes it or gives it.
        config: The model's config, if it is to be taken from elsewhere than the file; it is trusted.

    Raises:
        UserError: A file is absent, damaged, of another config, or refused.
    """
    weights, found = _read(find_model(path))
    if config is not None:
        for line in trained_otherwise(found, config):
            logging.getLogger("jepa_t").warning("%s was trained otherwise: %s", path, line)
        model = registry.build(config, registry.MODELS)
    else:
        if not isinstance(found, dict):
            raise UserError(f"checkpoint '{path}' holds no config; give the config file it was trained with")
        registry.load_plugins()
        check_names(found, registered_names())
        numbers = NUMBERS + TIMES * sum(value.numel() for value in weights.values())
        with _Budget(numbers, TENSORS + TIMES * len(weights), path):
            model = registry.build(found, registry.MODELS)
    if not isinstance(model, JEPAT):
        raise UserError(f"'{path}' holds a {type(model).__name__}, which draws nothing; give a trained JEPAT")
    copied = {f"network.{name[4:]}": value for name, value in weights.items() if name.startswith("ema.")}
    weights = copied | weights  # a saved folder has the averaged weights alone, which then serve as both
    check_weights(model.state_dict(), weights, str(path))
    model.load_state_dict(weights)
    return model.eval(), found if config is None else config


def find_model(path: str | Path, revision: str | None = None) -> Path:
    """Where a model lies on this machine. What is there comes first, then the library's own, then the hub's.

    Args:
        path: A ``.pth`` file, a work dir (its newest checkpoint), a saved folder; the name of a model that comes with
            the library, such as ``emoji``; or ``user/model`` on the hub, which is fetched.
        revision: Of a model on the hub: a branch, a tag or a commit.

    Raises:
        UserError: It is none of these.
    """
    hub.check_revision(revision)
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(f"path is {path!r}; give a text, such as 'emoji', or a Path")
    try:
        place = located(Path(path).expanduser())
        there = place.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, not to be looked into, or of an unknown user
        raise UserError(f"no model at '{path}': {first_line(error)}") from error
    if not there and hub.is_name(path):
        try:
            return hub.fetch(str(path), revision)
        except UserError as error:
            raise UserError(f"no file or folder '{path}' here; {error}") from error
    if revision is not None:
        raise UserError(f"revision is {revision!r}, which only models on the hub have; '{path}' is none of them")
    if not there:
        kinds = "a .pth file, a work dir, a saved folder, user/model on the hub"
        raise UserError(f"no model at '{path}'; give {kinds}, or one of: {', '.join(shipped_models())}")
    return place


def read_card(place: Path) -> str | None:
    """The text of the model card in a saved folder; None if there is none, or the place is no such folder."""
    card = place / CARD
    return card.read_text(encoding="utf-8", errors="replace") if (place / CONFIG).is_file() and card.is_file() else None


def read_sheet(place: Path) -> bytes | None:
    """The file of the sheet of a card that :func:`read_card` finds, None if there is none."""
    sheet = place / hub.SHEET
    return sheet.read_bytes() if read_card(place) is not None and sheet.is_file() else None


def write_model(folder: str | Path, weights: Mapping[str, Tensor], config: bytes) -> None:
    """Write a saved folder.

    Raises:
        UserError: It can't be written.
    """
    if not isinstance(folder, (str, os.PathLike)) or folder == "":
        raise UserError(f"folder is {folder!r}; give a text or a Path")
    try:
        write_weights(Path(folder) / WEIGHTS, weights)
        write_atomically(Path(folder) / CONFIG, lambda file: file.write(config))
    except OSError as error:
        reason = f"{error.strerror}: '{error.filename}'" if error.filename else first_line(error)
        raise UserError(f"folder '{folder}' can't be written: {reason}; give another") from error


def in_precision(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight to be saved, in another precision; of whole numbers, and with None, as it is.

    Raises:
        UserError: It becomes infinite.
    """
    found = value.to(dtype) if value.is_floating_point() else value
    if not torch.equal(found.isfinite(), value.isfinite()):
        raise UserError(f"{name} holds numbers that {dtype} doesn't; use torch.bfloat16 or torch.float32")
    return found


class _Budget(TorchFunctionMode):
    """Refuses to make more numbers than a model of such weights needs."""

    def __init__(self, numbers: int, tensors: int, path: str | Path) -> None:
        super().__init__()
        self.numbers, self.tensors, self.path = numbers, tensors, path

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
        asked = math.prod(sizes) if function in FACTORIES and all(isinstance(size, int) for size in sizes) else 0
        if asked <= self.numbers:  # else it isn't even made
            made = function(*args, **(kwargs or {}))
            self.numbers -= made.numel() if isinstance(made, Tensor) else 0
            self.tensors -= isinstance(made, Tensor)
            if min(self.numbers, self.tensors) >= 0:
                return made
        raise UserError(f"the config in '{self.path}' asks for far more memory than its weights have; refused")


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The weights and the model's config in a checkpoint, a work dir or a saved folder."""
    if not (path / CONFIG).is_file():
        checkpoint = load_checkpoint(find_checkpoint(str(path)))
        return checkpoint.get("state_dict", checkpoint), checkpoint.get("meta", {}).get("model")
    try:
        return read_safely(str(path / WEIGHTS)), read_json(path / CONFIG, "get it again")
    except (OSError, UserError) as error:
        raise UserError(f"folder '{path}' holds no whole model: {error}") from error


def registered_names() -> set[str]:
    """Names of the components that are known so far, without another import."""
    ours = [value for value in vars(registry).values() if isinstance(value, Registry)]
    for own in ours:
        own.import_from_location()
    return {name for own in ours for name in own.module_dict}


def check_names(config: Any, known: set[str]) -> None:
    """Let only known names pass as ``type``, and as the functions that a sampler names by a text alone.

    Args:
        config: A model's.
        known: As of :func:`registered_names`.

    Raises:
        UserError: Something else is named.
    """
    named = [node["type"] for node in _nodes(config) if isinstance(node, dict) and node.get("type") is not None]
    named += [node for node in _nodes(config.get("sampler")) if isinstance(node, str) and "." in node]
    for name in named:
        if not (isinstance(name, str) and name in known):
            remedy = "if it is your own, give the config file that the model was trained with (--config FILE)"
            raise UserError(f"the model names the unknown component {name!r}; {remedy}")


def _nodes(config: Any) -> Iterator[Any]:
    """Every part of a config, itself among them."""
    nodes = [config]
    while nodes:
        nodes += _children(node := nodes.pop())
        yield node


def _children(node: Any) -> list[Any]:
    return [*node.values()] if isinstance(node, dict) else [*node] if isinstance(node, (list, tuple)) else []

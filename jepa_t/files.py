"""The ground floor of all that reads or writes files: safe reads, atomic writes, checkpoints, configs, hashes."""

import argparse
import hashlib
import os
import pickle
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .errors import UserError, first_line, unknown

# What a checkpoint may hold besides tensors and plain Python data. None of these runs anything when loaded.
ALLOWED = [
    argparse.Namespace,  # some keep their command line beside the weights
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    np.ndarray,
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]


# The configs that come with this library: inside the installed package, beside it in a checkout.
CONFIGS = next(
    (folder for folder in (parent / "configs" for parent in Path(__file__).parents[:2]) if folder.is_dir()),
    Path("configs"),
)


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a neighbour of ``path``, then put it in place in one move: the file is whole, old or new."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_safely(path: str, map_location: Any = "cpu") -> Any:
    """What ``torch.save`` wrote, of tensors and plain data; nothing else is read, and nothing is run.

    A ``.safetensors`` file gives its tensors.

    Raises:
        UserError: The file is absent, damaged, or holds more than data.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f"checkpoint {path!r} doesn't exist; give the path of a .pth file")
    if path.endswith(".safetensors"):
        try:
            return load_file(path, map_location)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path!r} is damaged or no safetensors file: {first_line(error)}") from error
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the reader: all of it is one user error
        foreign = re.search(r"(?:GLOBAL|global|class) ([\w.]+\.[\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and foreign:
            raise UserError(
                f"checkpoint {path!r} refused: it calls {foreign[1]!r}; only tensors and plain data are read"
            ) from error
        raise UserError(f"checkpoint {path!r} is damaged or no checkpoint; use an earlier one") from error


def load_checkpoint(path: str, map_location: Any = "cpu") -> dict:
    """Read a checkpoint without running any code that may be hidden in it.

    Args:
        path: A file written by training, or a plain dict of tensors.
        map_location: As in ``torch.load``.

    Raises:
        UserError: The file is absent, damaged, not a checkpoint, or holds more than data.
    """
    checkpoint = read_safely(path, map_location)
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not weights or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"checkpoint {path!r} holds no weights; use a file written by jepa-t train")
    return checkpoint


def find_checkpoint(where: str) -> str:
    """The newest checkpoint of a work dir, or ``where`` itself if it is a file.

    Raises:
        UserError: There is none.
    """
    path = Path(where).expanduser()
    if path.is_file():
        return str(path)
    pointer = path / "last_checkpoint"
    if not pointer.is_file():
        raise UserError(f"no checkpoint in {where!r}; train first, or give the path of a .pth file")
    found = path / Path(pointer.read_text().strip()).name
    if not found.is_file():
        raise UserError(f"{pointer} names {found.name!r}, which isn't there; give the path of another .pth file")
    return str(found)


def find_config(name: str) -> Path:
    """The file of a config.

    Args:
        name: Of one that comes with this library, such as ``ablation/digits_none``, or a path.

    Raises:
        UserError: There is none; the message offers the nearest.
    """
    path = Path(name).expanduser()
    if path.suffix and path.is_file():
        return path
    known = {file.relative_to(CONFIGS).with_suffix("").as_posix(): file for file in CONFIGS.rglob("*.py")}
    known = {name: file for name, file in known.items() if not name.startswith("_base_")}
    if name not in known:
        beside = path.parent.glob("*.py") if path.suffix and path.parent.is_dir() else ()
        raise unknown("config", name, [*known, *map(str, beside)])
    return known[name]


def check_weights(expected: dict[str, Tensor], found: dict[str, Tensor], filename: str) -> None:
    """Compare names and shapes of two sets of weights.

    Raises:
        UserError: They differ; the message names the first difference and both values.
    """
    ours = {name: list(value.shape) for name, value in expected.items()}
    theirs = {name: list(value.shape) for name, value in found.items()}
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"checkpoint {filename!r} belongs to another config: {name} is {theirs.get(name, 'absent')} "
                f"there and {ours.get(name, 'absent')} here; use the config dumped beside the checkpoint"
            )
        if expected[name].is_floating_point() != found[name].is_floating_point():
            raise UserError(f"checkpoint {filename!r}: {name} is of {found[name].dtype}, not of {expected[name].dtype}")


def weights_hash(module: nn.Module) -> str:
    """The SHA-256 of all names and values of a module's state."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def installed(package: str) -> str:
    """The version of a package, or ``"from source"`` for one that runs without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"

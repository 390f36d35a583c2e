"""The ground floor of all that reads or writes files: safe reads, atomic writes, checkpoints, configs, hashes."""

import argparse
import functools
import hashlib
import json
import logging
import os
import pickle
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
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

CONFIG, WEIGHTS = "config.json", "model.safetensors"  # of a saved folder
HASH = "sha256"  # of the tensors, among a safetensors file's metadata
LAST = "last_checkpoint"  # of a work dir: a file with the newest checkpoint's name


# The configs that come with this library: inside the installed package, beside it in a checkout.
CONFIGS = next(
    (folder for folder in (parent / "configs" for parent in Path(__file__).parents[:2]) if folder.is_dir()),
    Path("configs"),
)

SHIPPED = Path(__file__).parent / "weights"  # models that come with the library, a saved folder each


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a neighbour of ``path``, then put it in place in one move: the file is whole, old or new.

    Raises:
        OSError: It can't be written; the error names it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch.save hides the first behind the second
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A neighbour of ``path`` to fill, which then takes its place: the folder is whole, or isn't there.

    Raises:
        OSError: It can't be written; the error names it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir()
    try:
        yield unfinished
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:  # which hides the first
        number = error.errno if isinstance(error, OSError) else None
        raise OSError(number, first_line(error) if number is None else error.strerror, str(path)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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
        return _read_safetensors(path, map_location)
    refuse_damaged(path)
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


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Args:
        path: The file.
        what: What to call it, or do about it, at the end of the message.

    Raises:
        UserError: It is absent, damaged, nested too deep, or holds something else.
    """
    try:
        if not os.path.isfile(path):
            raise ValueError("it is no file")
        found = json.loads(Path(path).read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}, not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is damaged or no JSON: {first_line(error)}; {what}") from error
    return found


def write_weights(path: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, with a hash by which :func:`read_safely` knows them again."""
    weights = {name: value.detach().contiguous() for name, value in weights.items()}
    write_atomically(path, lambda file: file.write(save(weights, {HASH: state_hash(weights)})))


def _read_safetensors(path: str, map_location: Any) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get(HASH)
        weights = load_file(path, map_location)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path!r} is damaged or no safetensors file: {first_line(error)}") from error
    if written not in (None, state_hash(weights)):
        raise UserError(f"{path!r} is damaged: its weights have changed since they were written; get it again")
    return weights


def refuse_damaged(path: str | Path) -> None:
    """Compare a file of ``torch.save`` with the checksums that it holds of its parts, which PyTorch doesn't.

    Raises:
        UserError: A part has changed since it was written, or the file has no such parts.
    """
    found = os.stat(path)
    regular = stat.S_ISREG(found.st_mode)
    damage = _damage(str(path), found.st_size, found.st_mtime_ns) if regular else "it is no file"
    if damage:
        raise UserError(f"checkpoint {str(path)!r} is damaged ({damage}); use an earlier one")


@functools.lru_cache(maxsize=32)
def _damage(path: str, _size: int, _modified: int) -> str:
    """What is wrong with a file, once for each of its states; an old ``torch.save`` wrote no archive to look at."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            return "" if file.read(1) == b"\x80" else "it is no file of torch.save"
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                return "it is compressed, as torch.save never does"
            part = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error) as error:
        return first_line(error)
    return f"the checksum of {part} is wrong" if part else ""


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
    named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
    if not weights or not named or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"checkpoint {path!r} holds no weights by name; use a file written by jepa-t train")
    if sparse := next((name for name, value in weights.items() if value.layout != torch.strided), None):
        raise UserError(f"checkpoint {path!r}: {sparse} is a sparse tensor; weights are dense")
    if not isinstance(checkpoint.get("meta", {}), dict):
        raise UserError(f"checkpoint {path!r} is damaged: its meta is no dict; use an earlier one")
    return checkpoint


def find_checkpoint(where: str) -> str:
    """The newest undamaged checkpoint of a work dir, or ``where`` itself if it is a file.

    The newest is what ``last_checkpoint`` names; a warning says why it is another.

    Raises:
        UserError: There is none.
    """
    path = Path(where).expanduser()
    if path.is_file():
        return str(path)
    files = {file.name: file for file in sorted(checkpoints(path), key=lambda file: -file.stat().st_mtime_ns)}
    pointer, passed = path / LAST, []
    if pointer.is_file():
        with pointer.open("rb") as file:
            named = Path(file.read(255).decode(errors="replace").replace("\0", "?").strip()).name
        if (path / named).is_file():
            files = {named: path / named} | files
        else:
            passed = [f"{pointer} names {named!r}, which isn't there"]
    for file in files.values():
        try:
            refuse_damaged(file)
        except UserError as error:
            passed.append(str(error).partition(";")[0])
            continue
        if passed:
            logging.getLogger("jepa_t").warning("%s; taking %s", "; ".join(passed), file)
        return str(file)
    why = "; ".join(passed) or f"no checkpoint in {where!r}"
    raise UserError(f"{why}; train first, or give the path of a .pth file")


def shipped_models() -> list[str]:
    """Names of the models that come with the library."""
    return sorted(folder.parent.name for folder in SHIPPED.glob(f"*/{WEIGHTS}"))


def located(path: Path) -> Path:
    """A path that is there, or the folder of a model that comes with the library."""
    if path.exists() or str(path) not in shipped_models():
        return path
    return SHIPPED / path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a work dir, by their steps."""
    found = (file for file in folder.glob("iter_*.pth") if file.stem[5:].isdecimal() and file.is_file())
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint of a work dir was written."""
    return int(checkpoint.stem[5:])


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
    """Compare names and shapes of two sets of weights, and see that those found are numbers.

    Raises:
        UserError: They differ; the message names the first difference and both values. Or one is no number.
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
    refuse_nan(found, filename)


def refuse_nan(weights: Mapping[str, Tensor], filename: str) -> None:
    """See that weights are numbers.

    Raises:
        UserError: One isn't.
    """
    for name, value in weights.items():
        if value.is_meta or value.isnan().any():
            raise UserError(
                f"checkpoint {filename!r} holds {'nothing' if value.is_meta else 'NaN'} in {name}; use an earlier one"
            )


def weights_hash(module: nn.Module) -> str:
    """The SHA-256 of all names and values of a module's state."""
    return state_hash(module.state_dict())


def state_hash(state: Mapping[str, Tensor]) -> str:
    """The SHA-256 of all names and values of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def installed(package: str) -> str:
    """The version of a package, or ``"from source"`` for one that runs without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"

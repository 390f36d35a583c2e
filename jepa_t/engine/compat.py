"""The only file that bends MMEngine 0.10.7: safe reading, whole writing, processes on a CPU, warnings."""

import argparse
import importlib
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import UserError, first_line

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
LAUNCHERS = {"slurm": "srun", "mpi": "mpirun"}
# What MMEngine 0.10.7 causes and the user can't mend.
WARNINGS = [
    (ResourceWarning, r"unclosed file .*\.py' mode='rb\+'"),  # its copy of a config that failed
    (UserWarning, r"Setting (OMP|MKL)_NUM_THREADS"),  # of several processes; `threads` decides for itself
    (FutureWarning, r"`broadcast_buffers` is deprecated"),  # of which torch before 2.13 knows no other name
]


def apply() -> None:
    """Put the replacements in place; calling it again changes nothing."""
    CheckpointLoader.register_scheme(prefixes="", loader=load_checkpoint, force=True)
    for module in ("mmengine.runner.runner", "mmengine.runner.checkpoint"):
        importlib.import_module(module).save_checkpoint = save_checkpoint
    for root in [value for value in vars(registry).values() if isinstance(value, Registry)]:
        if "jepa_t" not in root.children:  # else MMEngine warns once per registry that the scope has no child
            Registry(root.name, parent=root, scope="jepa_t")
    for category, message in WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)


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
        raise UserError(f"checkpoint {path!r} holds no weights; use a file written by tools/train.py")
    return checkpoint


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


def save_checkpoint(checkpoint: dict, filename: str, **_: Any) -> None:
    """Write a checkpoint so that the file is always whole, old or new, whenever the process dies.

    MMEngine's log histories are left out: they pickle references to functions, which no safe reader accepts.
    """
    hub = checkpoint.get("message_hub")
    if hub is not None:
        known = {key: kept for key, kept in hub["resumed_keys"].items() if key in hub["runtime_info"]}
        checkpoint["message_hub"] = dict(hub, log_scalars={}, resumed_keys=known)
    write_whole(filename, lambda file: torch.save(checkpoint, file))


def write_whole(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a neighbour of ``path``, then put it in place in one move."""
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


def distribute(cfg: Config) -> None:
    """Start gloo for ``launcher='pytorch'`` on a machine without GPU, where MMEngine would ask for CUDA.

    Raises:
        UserError: The launcher didn't start this process, or needs GPUs.
    """
    launcher = cfg.get("launcher", "none")
    for name, variable in (("slurm", "SLURM_PROCID"), ("mpi", "OMPI_COMM_WORLD_LOCAL_RANK")):
        if launcher == name and variable not in os.environ:
            raise UserError(f"--launcher {name} needs {variable}; start the command with {LAUNCHERS[name]}")
    if launcher == "pytorch" and "RANK" not in os.environ:
        raise UserError("--launcher pytorch needs torchrun: torchrun --nproc_per_node N tools/train.py CONFIG ...")
    if launcher == "none" or torch.cuda.is_available():
        return
    if launcher != "pytorch":
        raise UserError(f"--launcher {launcher} needs GPUs; on CPUs use torchrun and --launcher pytorch")
    cfg.merge_from_dict({"env_cfg.dist_cfg.backend": "gloo"})
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    cfg.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
    }


@contextmanager
def told_of_loss(remedy: str) -> Iterator[None]:
    """Say in one line that another process of the group is gone, which the back ends tell in many.

    Args:
        remedy: What to do.

    Raises:
        UserError: It is.
    """
    try:
        yield
    except RuntimeError as error:  # NCCL and the store raise a DistError, which is one; gloo a bare one
        if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        raise UserError(
            f"process {os.environ.get('RANK')} lost another process of the run, and ends; the launcher says which "
            f"and why. {remedy}"
        ) from error


def end_workers(batches: Iterator) -> None:
    """End the workers of a data loader's iterator: at its exit Python would signal them once, and wait for ever."""
    if hasattr(batches, "_shutdown_workers"):  # PyTorch's own way, which has no other name
        batches._shutdown_workers()


def disband() -> None:
    """Leave the group of processes, if this is one: gloo's threads that outlive it abort the process now and then."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

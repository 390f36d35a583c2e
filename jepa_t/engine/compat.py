"""The only file that bends MMEngine 0.10.7: safe reading, atomic writing, processes on a CPU, warnings."""

import gc
import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner.checkpoint import CheckpointLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ..errors import UserError
from ..files import CONFIGS, load_checkpoint, write_atomically

LAUNCHERS = {"slurm": "srun", "mpi": "mpirun"}
# What MMEngine 0.10.7 causes and the user can't mend.
WARNINGS = [
    (ResourceWarning, r"unclosed file .*\.py' mode='rb\+'"),  # its copy of a config that failed
    (UserWarning, r"Setting (OMP|MKL)_NUM_THREADS"),  # of several processes; `threads` decides for itself
    (FutureWarning, r"`broadcast_buffers` is deprecated"),  # of which torch before 2.13 knows no other name
]
_path_beside = Config._get_cfg_path


def apply() -> None:
    """Put the replacements in place; calling it again changes nothing."""
    CheckpointLoader.register_scheme(prefixes="", loader=load_checkpoint, force=True)
    for module in ("mmengine.runner.runner", "mmengine.runner.checkpoint"):
        importlib.import_module(module).save_checkpoint = save_checkpoint
    Config._get_cfg_path = staticmethod(base_config)
    for root in [value for value in vars(registry).values() if isinstance(value, Registry)]:
        if "jepa_t" not in root.children:  # else MMEngine warns once per registry that the scope has no child
            Registry(root.name, parent=root, scope="jepa_t")
    for category, message in WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)


def base_config(name: str, user: str) -> tuple[str, str | None]:
    """The file of a ``_base_``: a path from the config that names it, or a config of this library, as in the shell.

    Args:
        name: What it says.
        user: The file of the config that says it.

    Raises:
        SyntaxError: It is no Python; MMEngine's own error doesn't say which file isn't.
    """
    ours = CONFIGS / f"{name}.py"
    path, scope = (str(ours), None) if ours.is_file() else _path_beside(name, user)
    if path.endswith(".py") and Path(path).is_file():
        compile(Path(path).read_bytes(), path, "exec")
    return path, scope


def save_checkpoint(checkpoint: dict, filename: str, **_: Any) -> None:
    """Write a checkpoint so that the file is always whole, old or new, whenever the process dies.

    MMEngine's log histories are left out: they pickle references to functions, which no safe reader accepts.
    """
    hub = checkpoint.get("message_hub")
    if hub is not None:
        known = {key: kept for key, kept in hub["resumed_keys"].items() if key in hub["runtime_info"]}
        checkpoint["message_hub"] = dict(hub, log_scalars={}, resumed_keys=known)
    write_atomically(filename, lambda file: torch.save(checkpoint, file))


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
        raise UserError("--launcher pytorch needs torchrun: torchrun --nproc_per_node N -m jepa_t train CONFIG ...")
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
def explain_lost_process(remedy: str) -> Iterator[None]:
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
    if isinstance(batches, _MultiProcessingDataLoaderIter):  # PyTorch's own way, which has no other name
        batches._shutdown_workers()


def leave_process_group() -> None:
    """Leave the group of processes, if this is one: gloo's threads that outlive it abort the process now and then.

    They live as long as anything refers to the group, as a wrapped model does, so let go of the runner before.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()  # a runner is in cycles with its hooks

"""Data loaders from configs."""

from typing import Any

import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import UserError, check_integer
from ..registry import DATASETS, FUNCTIONS, as_user_errors, build, resolve

BOUNDS = (("batch_size", 1, 2**20), ("num_workers", 0, 1024))  # of a data loader's options


def build_loader(dataloader: DataLoader | dict, **seeds: Any) -> DataLoader:
    """MMEngine's loader; ``collate_fn`` is looked up among our functions too, and memory pinned for a GPU.

    Raises:
        UserError: An option is refused.
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    options = dict(dataloader)
    for name, least, most in BOUNDS:
        if check_integer(f"{name} of a data loader", options.get(name, least), least) > most:
            raise UserError(f"{name} of a data loader is {options[name]}; it must be at most {most}")
    if not isinstance(options.get("sampler"), (dict, Sampler)):
        raise UserError(f"sampler of a data loader is {options.get('sampler')!r}; describe one: dict(type=...)")
    if isinstance(options.get("collate_fn"), dict):
        function = resolve(options["collate_fn"].get("type"), FUNCTIONS)
        options["collate_fn"] = dict(options["collate_fn"], type=function)
    if not isinstance(options.get("dataset"), Dataset):
        options["dataset"] = build(options.get("dataset"), DATASETS)
    held = not options.get("num_workers")  # without workers, what is loaded may lie on the GPU already
    options.setdefault("pin_memory", torch.cuda.is_available() and not held)  # else the host waits for the copy
    with as_user_errors(f"data loader of {type(options['dataset']).__name__}"):
        return Runner.build_dataloader(options, **seeds)

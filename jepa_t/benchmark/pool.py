"""Many runs over a few processes, with one display."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..errors import UserError
from ..registry import load_plugins
from .runs import execute

_events: Any = None  # in a worker: the queue to the display
_stopped = False  # in a worker: whether Ctrl-C has come to it


def run_all(
    runs: Mapping[str, Config],
    folder: Path,
    jobs: int | None = None,
    moved: Callable[[str, int], object] = lambda _key, _step: None,
) -> dict[str, dict[str, Any]]:
    """Execute runs, those done before excepted, and give their records by hash.

    The records don't depend on ``jobs``: each run is a function of its config.

    Args:
        runs: Configs by their :func:`~jepa_t.benchmark.runs.config_hash`.
        folder: Each run gets a folder of its own in it.
        jobs: Processes; by default one per GPU, or per CPU core.
        moved: Called now and then with a run's hash and how many steps it has done.

    Raises:
        UserError: A run can't be made, or its process was killed.
    """
    gpus = torch.cuda.device_count()
    jobs = min(jobs or gpus or os.cpu_count() or 1, max(len(runs), 1))
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        events, devices = manager.Queue(), manager.Queue()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        for number in range(jobs):
            devices.put(visible[number % gpus] if gpus else None)
        with ProcessPoolExecutor(jobs, context, _start, (events, devices)) as pool:
            pending = {pool.submit(_execute, key, cfg, folder / key): key for key, cfg in runs.items()}
            records = {}
            try:
                while pending:
                    done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        records[pending.pop(future)] = future.result()
                    _pass_on(events, moved)
            except BrokenProcessPool as error:
                raise UserError(
                    "a process of the benchmark was killed, perhaps for want of memory; start the command again to go "
                    "on, with fewer --jobs"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            _pass_on(events, moved)
    return {key: records[key] for key in runs}


def _pass_on(events: Any, moved: Callable[[str, int], object]) -> None:
    while True:
        try:
            moved(*events.get_nowait())
        except queue.Empty:
            return


def _start(events: Any, devices: Any) -> None:
    global _events
    _events = events
    multiprocessing.set_start_method("fork", force=True)  # as MMEngine does, which warns when it isn't yet so
    device = devices.get()
    if device is not None:  # before CUDA is first used
        os.environ["CUDA_VISIBLE_DEVICES"] = device


def _execute(key: str, cfg: Config, folder: Path) -> dict[str, Any]:
    global _stopped
    if _stopped:  # the pool hands out one run more than it has processes
        raise KeyboardInterrupt
    load_plugins()  # a spawned process knows nothing of what its parent has registered
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    try:
        record = execute(cfg, folder, lambda step: _events.put((key, step)))
    except KeyboardInterrupt:
        _stopped = True
        raise
    _events.put((key, cfg.train_cfg.max_iters))
    return record

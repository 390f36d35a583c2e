"""Many runs over a few processes, with one display."""

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..errors import UserError, first_line
from ..interrupts import kept_interrupts
from ..registry import load_plugins

KILLED = (
    "not made, since a process of the benchmark was killed, perhaps for want of memory; start the command again to go "
    "on, with fewer --jobs"
)
_events: Any = None  # in a worker: the queue to the display
_stopped = _busy = False  # in a worker: whether Ctrl-C has come to it, and whether it is making a run


def run_all(
    work: Callable[[Config, Path, Callable[[int], object]], Any],
    runs: Mapping[str, Config],
    folder: Path,
    jobs: int | None = None,
    moved: Callable[[str, int], object] = lambda _key, _step: None,
    finished: Callable[[str], object] = lambda _key: None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Do the work of all runs; one that fails doesn't keep the others from being made.

    What comes out doesn't depend on ``jobs``: it is a function of a run's config and folder.

    Args:
        work: Of one run, such as :func:`~jepa_t.benchmark.runs.execute`: gets its config, its folder, and what to call
            with how many steps it has done. Importable by name, since it is called in other processes.
        runs: Configs by their :func:`~jepa_t.benchmark.configs.config_hash`.
        folder: Each run gets a folder of its own in it.
        jobs: Processes; by default one per GPU, or per CPU core.
        moved: Called now and then with a run's hash and how many steps it has done.
        finished: Called with the hash of a run whose work is done.

    Returns:
        What ``work`` returned by hash, and what was wrong with the runs that failed.
    """
    gpus = torch.cuda.device_count()
    jobs = min(jobs or gpus or os.cpu_count() or 1, max(len(runs), 1))
    context = multiprocessing.get_context("spawn")
    events, devices = context.Queue(), context.Queue()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    for number in range(jobs):
        devices.put(visible[number % gpus] if gpus else None)
    results, failed = {}, {}
    with ProcessPoolExecutor(jobs, context, _start, (events, devices)) as pool:
        with _without_interrupts():  # which processes that are being started would show at length
            pending = {pool.submit(_do, work, key, cfg, folder / key): key for key, cfg in runs.items()}
        try:
            while pending:
                done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    key = pending.pop(future)
                    if wrong := _wrong(future):
                        failed[key] = wrong
                    else:
                        results[key] = future.result()
                        finished(key)
                for key, step in _arrived(events):
                    if key not in results:
                        moved(key, step)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {key: results[key] for key in runs if key in results}, failed


def _wrong(future: Future) -> str | None:
    """What was wrong with a run, if anything."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        return KILLED
    if error is None or isinstance(error, UserError):
        return error and str(error)
    if not isinstance(error, Exception):  # such as Ctrl-C
        raise error
    logging.getLogger("jepa_t").error("a run failed", exc_info=error)  # of a component of one's own, or of the machine
    return f"{type(error).__name__}: {first_line(error)}"


def _arrived(events: Any) -> Iterator[tuple[str, int]]:
    while True:
        try:
            yield events.get_nowait()
        except queue.Empty:
            return


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C comes once this is over, and to processes that are started meanwhile when they are ready for it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """A worker's Ctrl-C: it ends the run that is being made, and none follows."""
    global _stopped
    _stopped = True
    if _busy:
        raise KeyboardInterrupt


def _start(events: Any, devices: Any) -> None:
    global _events
    _events = events
    signal.signal(signal.SIGINT, _stop)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    events.cancel_join_thread()  # a worker that leaves doesn't wait until its last steps have been read
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    multiprocessing.set_start_method("fork", force=True)  # as MMEngine does, which warns when it isn't yet so
    device = devices.get()
    if device is not None:  # before CUDA is first used
        os.environ["CUDA_VISIBLE_DEVICES"] = device


def _leave_with_the_parent() -> None:
    """A killed benchmark is started again: nobody else may be writing into its folders then."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _do(work: Callable[..., Any], key: str, cfg: Config, folder: Path) -> Any:
    global _stopped, _busy
    if _stopped:  # the pool hands out one run more than it has processes
        raise KeyboardInterrupt
    _busy = True
    try:
        load_plugins()  # a spawned process knows nothing of what its parent has registered
        if cfg.get("custom_imports"):
            import_modules_from_strings(**cfg.custom_imports)
        with kept_interrupts():
            return work(cfg, folder, lambda step: _events.put((key, step)))
    except KeyboardInterrupt:
        _stopped = True
        raise
    finally:
        _busy = False

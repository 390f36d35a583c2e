"""Checkpoints that survive anything, and a Ctrl-C that ends in one."""

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, get_comm_device, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..changes import plain
from ..errors import check_integer
from ..files import LAST, checkpoints, step_of, write_atomically
from ..registry import HOOKS
from .resume import settings


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Save the run's whole state every so often and at the end.

    The order is safe against a sudden end: the new file is written whole, then ``last_checkpoint`` points to
    it, then old files go. The pointer holds a bare name, so a work dir can be moved.

    Args:
        interval: Steps between two checkpoints.
        max_keep_ckpts: How many of the newest stay.

    Raises:
        UserError: A number is below 1.

    Attributes:
        last: The newest checkpoint of this training; None before.
    """

    priority = "VERY_LOW"  # after all that changes or measures the step

    def __init__(self, interval: int, max_keep_ckpts: int = 2) -> None:
        self.interval = check_integer("SafeCheckpointHook.interval", interval)
        self.max_keep_ckpts = check_integer("SafeCheckpointHook.max_keep_ckpts", max_keep_ckpts)
        self.last: Path | None = None
        self._saving: int | None = None  # the step whose state is being saved

    def before_train(self, runner: Runner) -> None:
        """Look at what an earlier part of the training has left; what it did after this place goes first."""
        there = checkpoints(Path(runner.work_dir))
        later = [file for file in there if step_of(file) > runner.iter]
        self._kept = [*later, *(file for file in there if file not in later)]
        self.last, self._saved = (Path(runner._load_from), runner.iter) if runner._resume else (None, 0)
        if later:
            runner.logger.warning(f"{', '.join(file.name for file in later)}: trained again, removed by and by")

    def after_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        """Save if it is time to."""
        if (batch_idx + 1) % self.interval == 0 or batch_idx + 1 == runner.max_iters:
            self.save(runner, batch_idx + 1)

    def after_train(self, runner: Runner) -> None:
        """Save what was trained since, where a hook has ended the training before its last step."""
        self.save(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the place in the data, and the settings as plain data, of which the pipeline builds the model again."""
        loop = runner.train_loop
        checkpoint["meta"].update(train_samples=loop.samples, total_batch=loop.total_batch)
        if self._saving is not None:  # MMEngine takes each save for one within a step
            checkpoint["meta"]["iter"] = self._saving
        checkpoint["meta"]["model"] = plain(runner.cfg.model.to_dict())
        checkpoint["meta"]["settings"] = settings(runner.cfg.to_dict())
        checkpoint["meta"]["threads"] = torch.get_num_threads()  # other counts sum in another order

    def save(self, runner: Runner, step: int) -> None:
        """Save the state after a step, which is the last that was made, unless that has been done.

        Raises:
            FloatingPointError: A GPU has met a bad number since the last log line.
        """
        runner.optim_wrapper.check()
        if step == self._saved:
            return
        file = Path(runner.work_dir) / f"iter_{step}.pth"
        self._saving = step
        runner.save_checkpoint(str(file.parent), file.name, by_epoch=False)
        self._saved, self._saving = step, None
        self._kept = [*(old for old in self._kept if old != file), file]
        outdated, self._kept = self._kept[: -self.max_keep_ckpts], self._kept[-self.max_keep_ckpts :]
        self.last = file
        if is_main_process():
            write_atomically(file.with_name(LAST), lambda pointer: pointer.write(file.name.encode()))
            for old in outdated:
                old.unlink(missing_ok=True)


def last_checkpoint(runner: Runner) -> str:
    """The file from which a training can go on, for messages."""
    saved = [hook.last for hook in runner.hooks if isinstance(hook, SafeCheckpointHook) and hook.last]
    return str(saved[0]) if saved else "none yet"


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal after its state had been saved; the text says where."""


def _fetch(flag: torch.Tensor) -> Callable[[], bool]:
    """Begin to fetch a flag from the device; the function waits until it is there, not for what was asked since."""
    fetched = flag.to("cpu", non_blocking=True)
    if flag.is_cuda:
        arrived = torch.cuda.Event()
        arrived.record()
        return lambda: arrived.synchronize() or bool(fetched)
    return lambda: bool(fetched)


def _ignore_first_signal(begin: Callable[[int], None] | None, worker: int) -> None:
    """Begin a worker that leaves the first signal to its process: terminals, torchrun and slurm send it to all at once.

    The second ends it, so one that hangs can still be ended.
    """

    def once(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, once)
    if begin:
        begin(worker)


@HOOKS.register_module()
class InterruptHook(Hook):
    """On Ctrl-C or SIGTERM finish the step, save a checkpoint, and leave by raising ``Interrupted``.

    A second Ctrl-C stops at once.
    """

    priority = "LOWEST"  # after the regular checkpoint of the same step

    def __init__(self) -> None:
        self._signalled = self._stopped = False
        self._told: Callable[[], bool] = bool  # whether any process had a signal, as of the step before
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Take over the two signals."""
        loader = runner.train_dataloader
        loader.worker_init_fn = partial(_ignore_first_signal, loader.worker_init_fn)
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            self._previous = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}

    def after_train_iter(self, runner: Runner, **_) -> None:
        """Save and end the training if a signal has come to any process.

        All processes must leave after the same step, so they tell each other. What they told is read a step later: a
        GPU then has the work of this step, and never waits for the host.
        """
        if runner.world_size > 1:
            flag = torch.tensor(float(self._signalled), device=get_comm_device())
            all_reduce(flag, "max")
            self._told, told = _fetch(flag), self._told
            self._stopped = told()
        else:
            self._stopped = self._signalled
        if not self._stopped:
            return
        runner.train_loop.stop_training = True
        for hook in runner.hooks:
            if isinstance(hook, SafeCheckpointHook):
                hook.save(runner, runner.iter + 1)

    def release(self) -> None:
        """Give the two signals back, however the training has ended."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def after_run(self, runner: Runner) -> None:
        """Leave if a signal had come.

        Raises:
            Interrupted: A signal ended the training.
        """
        if self._stopped:
            raise Interrupted(f"stopped after step {runner.iter}; saved {last_checkpoint(runner)}")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

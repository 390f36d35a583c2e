"""MMEngine's runner with strict weights and a console that shows only what a person follows."""

import errno
import inspect
import itertools
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import BaseLoop, LogProcessor, Runner
from torch import nn
from torch.distributed import Backend, init_process_group
from torch.utils.data import DataLoader

from ..annotations import check_argument
from ..changes import HELD, differences, in_lines, trained_otherwise
from ..errors import UserError, check_integer, unknown
from ..evaluation.metric import Metric
from ..files import check_weights, find_checkpoint, load_checkpoint
from ..registry import as_user_errors
from ..trainable import unwrap
from .checkpoint import InterruptHook, SafeCheckpointHook, last_checkpoint
from .config import set_threads
from .loaders import build_loader
from .loops import TrainLoop
from .optim import GuardedOptimWrapper
from .resume import NEW_STATE, check_meta, restore_optimizer, restore_schedules, settings
from .schedule import count_steps, disagreements, stand_in
from .work_dir import BeginHook, claim, locked

ENVIRONMENT = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")
DISTRIBUTED = (*inspect.signature(init_process_group).parameters, "init_backend", "port")
BETWEEN_PROCESSES = ("sync_bn", "find_unused_parameters", "model_wrapper_cfg")  # keys of a config
MOST_DIGITS = 20  # of a logged number
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What MMEngine says to no one in particular; it stays in the log file.
CHATTER = ("has no metainfo", "SyncBatchNorm", "Exp name:", "The prefix is not set")


def log_interval(runner: Runner) -> int:
    """Steps between two log lines: the interval of the runner's ``LoggerHook``."""
    return next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 50)


class JEPATRunner(Runner):
    """Reads weights strictly and safely, and sends MMEngine's long dumps to the log file only.

    Attributes:
        checkpoint_meta: The ``meta`` of the checkpoint loaded last; empty before.
    """

    checkpoint_meta: dict[str, Any]
    _number = itertools.count()

    @classmethod
    def from_cfg(cls, cfg: Config) -> "JEPATRunner":
        """MMEngine's runner from a config.

        Raises:
            UserError: A value is refused, such as a batch size of 0.
        """
        if not isinstance(cfg.get("load_from"), (str, Path, type(None))):
            raise UserError(f"load_from is {cfg.load_from!r}; give the path of a checkpoint, or None")
        with as_user_errors(str(cfg.filename)):
            return super().from_cfg(cfg)

    def train(self) -> nn.Module:
        """Train in a work dir of its own, after a look at what a test will need.

        Raises:
            UserError: Another training is or was in the work dir, a value is refused, or the disk is full.
        """
        folder = Path(self.work_dir)
        if self._resume or self._load_from:  # which may be a work dir
            try:
                self._load_from = find_checkpoint(self._load_from or self.work_dir)
            except UserError as error:
                raise UserError(f"{'load_from' if self._load_from else 'resume'}: {error}") from None
        with locked(folder) if is_main_process() else nullcontext():
            if is_main_process():
                claim(folder, Path(self._load_from) if self._resume else None, self.cfg.get("overwrite", False))
            self.register_hook(BeginHook())
            if "threads" in self.cfg:
                set_threads(self.cfg.threads)
            if isinstance(self._test_loop, dict):
                with as_user_errors("test_dataloader, test_cfg and test_evaluator"):
                    self._test_loop = self.build_test_loop(self._test_loop)
            self._check_settings()
            self.logger.info(f"threads: {torch.get_num_threads()}; work dir: {self.work_dir}")
            try:
                return super().train()
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise UserError(f"{error}; make room. Last checkpoint: {last_checkpoint(self)}") from error
            finally:
                for hook in self.hooks:
                    if isinstance(hook, InterruptHook):
                        hook.release()

    def _check_settings(self) -> None:
        """Refuse hooks that count epochs, and say which settings do nothing here, or much."""
        for hook in self.hooks:
            if vars(hook).get("by_epoch"):
                name = type(hook).__name__
                raise UserError(f"{name} counts epochs, and this training counts steps: give it by_epoch=False")
        if not any(isinstance(hook, (SafeCheckpointHook, CheckpointHook)) for hook in self.hooks):
            self.logger.warning("no hook saves checkpoints, so the weights go with the process; see default_hooks")
        for name in () if self.distributed else BETWEEN_PROCESSES:
            if self.cfg.get(name):
                self.logger.warning(f"{name} is ignored: it acts between processes, and this is one alone")

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        """MMEngine's, with one seed for all processes.

        Raises:
            UserError: ``diff_rank_seed`` is set, with which they would read other data in other order.
        """
        if diff_rank_seed:
            raise UserError("randomness.diff_rank_seed=True: leave it out; each process draws other numbers anyway")
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """MMEngine's; before a test or a validation each metric also sees that it has all that it needs."""
        loops = {"before_test": "test_loop", "before_val": "val_loop"}
        if fn_name in loops:
            loop = getattr(self, loops[fn_name])
            for metric in loop.evaluator.metrics:
                if isinstance(metric, Metric):
                    metric.prepare(unwrap(self.model), len(loop.dataloader.dataset))
        super().call_hook(fn_name, **kwargs)

    def dump_config(self) -> None:
        """Do nothing yet: a training writes its config beside its checkpoints when it begins, a test never."""

    def build_param_scheduler(self, scheduler: _ParamScheduler | dict | list) -> list[_ParamScheduler]:
        """MMEngine's schedulers, which count steps here; what doesn't agree with the training's length is logged.

        Raises:
            UserError: A schedule can't be built or computed, or counts epochs.
        """
        parts = scheduler if isinstance(scheduler, (list, tuple)) else [scheduler]
        if any(isinstance(part, _ParamScheduler) for part in parts):
            return super().build_param_scheduler(parts)
        parts = [count_steps(f"param_scheduler[{index}]", part) for index, part in enumerate(parts)]
        with as_user_errors("param_scheduler"):
            built = super().build_param_scheduler(parts)
            trial = stand_in(self.optim_wrapper)
            lines = disagreements(parts, self._build_param_scheduler(parts, trial), trial, self.max_iters)
        for line in lines:
            self.logger.warning(line)
        return built

    def resume(self, filename: str, **_: Any) -> None:
        """Go on from a checkpoint: with its weights, averages, step and place in the data, and the config's settings.

        Raises:
            UserError: It holds weights alone, or those of other parameters.
        """
        checkpoint = self._load(filename)
        meta, loop = self.checkpoint_meta, self.train_loop
        if not {"optimizer", "message_hub"} <= checkpoint.keys() or "iter" not in meta:
            raise UserError(f"checkpoint {filename!r} holds weights alone; start from them with load_from={filename!r}")
        check_meta(filename, checkpoint)
        loop._iter = meta["iter"]
        self._restore_seed(meta.get("seed"))
        self._restore_threads(meta.get("threads"))
        own = dict(self.message_hub.runtime_info)
        with as_user_errors(f"checkpoint {filename!r} can't be gone on from; use an earlier one"):
            self.message_hub.load_state_dict(checkpoint["message_hub"])
            self.message_hub.update_info_dict(own)
            changed = differences(meta["settings"], settings(self.cfg.to_dict())) if "settings" in meta else {}
            changed.pop(f"model.{HELD}", None)
            for line in in_lines(changed):
                self.logger.warning(f"since {Path(filename).name}, {line}")
            if changed.keys().isdisjoint(NEW_STATE):
                restore_optimizer(self.optim_wrapper, checkpoint["optimizer"])
            done = min(loop.iter, loop.max_iters)
            restore_schedules(self.param_schedulers or [], self.optim_wrapper, checkpoint, done)
        if self.cfg.model.get("image_tokenizer", {}).get("checkpoint"):
            self.logger.info(
                f"the image tokenizer is the one in the checkpoint: model.{HELD} isn't read again; "
                "overwrite=True begins anew with it"
            )
        before = meta.get("total_batch", loop.total_batch)
        if loop.total_batch != before:
            self.logger.warning(
                f"the checkpoint's steps held {before} samples and now hold {loop.total_batch}; the learning rate goes "
                "on as it was. train_cfg.total_batch keeps a step's samples whatever the number of processes"
            )
        self.logger.info(f"going on after step {loop.iter} of {loop.max_iters}, threads: {torch.get_num_threads()}")
        if loop.iter >= loop.max_iters:
            self.logger.warning("no step is left; a larger train_cfg.max_iters goes on")

    def _restore_seed(self, seed: int | None) -> None:
        """A config without a seed goes on with that of the checkpoint."""
        if self._randomness_cfg.get("seed") is None and seed is not None:
            self._randomness_cfg = {**self._randomness_cfg, "seed": seed}
            self.set_randomness(**self._randomness_cfg)
            self.train_dataloader.sampler.seed = seed

    def _restore_threads(self, threads: int | None) -> None:
        """Take the checkpoint's number of threads: sums of other numbers differ in their last bits."""
        now = self.cfg.get("threads", "auto")
        if threads is not None and now == "auto":
            torch.set_num_threads(threads)
        elif threads not in (None, now):
            self.logger.warning(f"threads is {now} and was {threads}; the weights may differ in their last bits")

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Multiply the learning rate by the samples of a step over ``base_batch_size``, and log what a step is.

        MMEngine's rule forgets that gradients accumulate; here they count.

        Args:
            optim_wrapper: Holds the learning rate of ``base_batch_size`` samples.
            auto_scale_lr: ``dict(enable=True, base_batch_size=256)``; else the learning rate stays as it is.
        """
        loop, optimizer = self.train_loop, optim_wrapper.optimizer
        enabled = auto_scale_lr is not None and auto_scale_lr.get("enable", False)
        if auto_scale_lr and "enable" not in auto_scale_lr:
            self.logger.warning("auto_scale_lr is ignored: it acts with enable=True")
        base = check_integer("auto_scale_lr.base_batch_size", auto_scale_lr.get("base_batch_size")) if enabled else None
        given = optimizer.param_groups[0]["lr"]
        for group in optimizer.param_groups if enabled else ():
            group["lr"] *= loop.total_batch / base
        self.logger.info(
            f"a step: {loop.total_batch} samples = {self.world_size} processes x {loop.dataloader.batch_size} a batch "
            f"x {loop.accumulated} accumulated; learning rate {optimizer.param_groups[0]['lr']:.6g}"
            + (f" = {given:g} x {loop.total_batch} / {base}" if enabled else "")
        )

    def setup_env(self, env_cfg: dict) -> None:
        """MMEngine's set-up; runs of one process get names of their own, even within one second.

        Raises:
            UserError: An option is unknown.
        """
        for name in env_cfg:
            if name not in ENVIRONMENT:
                raise unknown("option of env_cfg", name, ENVIRONMENT)
        for name in env_cfg.get("dist_cfg", {}):
            if name not in DISTRIBUTED:
                raise unknown("option of env_cfg.dist_cfg", name, DISTRIBUTED)
        for name in str(env_cfg.get("dist_cfg", {}).get("backend", "gloo")).split(","):  # such as cpu:gloo,cuda:nccl
            if name.rpartition(":")[2] not in Backend.backend_list:
                raise unknown("env_cfg.dist_cfg.backend", name, Backend.backend_list)
        super().setup_env(env_cfg)
        number = next(self._number)  # else MMEngine hands the second run the logs and state of the first
        if number:
            self._timestamp += f"_{number}"

    def build_logger(self, **kwargs: Any) -> MMLogger:
        """MMEngine's logger; records of many lines, and its chatter, don't reach the console."""
        self.checkpoint_meta = {}
        logger = super().build_logger(**kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_for_people)
            elif isinstance(handler, logging.FileHandler):
                handler.handleError = _raise  # such as of a full disk; Python would show a traceback and go on
        return logger

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, **seeds: Any) -> DataLoader:
        """As :func:`~jepa_t.engine.loaders.build_loader`."""
        return build_loader(dataloader, **seeds)

    def build_log_processor(self, log_processor: LogProcessor | dict) -> LogProcessor:
        """MMEngine's processor of what is logged.

        Raises:
            UserError: Its window or its digits are out of range, or it counts epochs.
        """
        if isinstance(log_processor, dict):
            if log_processor.get("by_epoch", False):
                raise UserError("log_processor.by_epoch is True, and this training counts steps: leave it out")
            log_processor = {"by_epoch": False} | log_processor
            check_argument("log_processor.mean_pattern", log_processor.get("mean_pattern", ""), str, "LogProcessor")
            check_integer("log_processor.window_size", log_processor.get("window_size", 10))
            if check_integer("log_processor.num_digits", log_processor.get("num_digits", 4), 0) > MOST_DIGITS:
                raise UserError(
                    f"log_processor.num_digits is {log_processor['num_digits']}; it is at most {MOST_DIGITS}"
                )
        return super().build_log_processor(log_processor)

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """MMEngine's evaluator, of at least one metric, which judges in full precision.

        Raises:
            UserError: There is none.
        """
        built = super().build_evaluator(evaluator)
        if not built.metrics:
            raise UserError(
                f"an evaluator is {evaluator!r}, which measures nothing; give a metric, such as DigitsMetric"
            )
        full = torch.autocast(get_device().split(":")[0], enabled=False)  # whatever precision draws
        for name in ("process", "evaluate"):
            setattr(built, name, full(getattr(built, name)))
        return built

    def build_train_loop(self, loop: BaseLoop | dict) -> TrainLoop:
        """MMEngine's method, of a loop of ours.

        Raises:
            UserError: It is another, or its validations can't be.
        """
        built = super().build_train_loop(loop)
        if not isinstance(built, TrainLoop):
            raise UserError(f"train_cfg is a {type(built).__name__}; use TrainLoop, or a class derived from it")
        given = f"train_cfg.val_interval is {built.val_interval}"
        if built.val_interval and self._val_loop is None:
            raise UserError(
                f"{given}, and the config has no validation; give val_dataloader, val_cfg and val_evaluator"
            )
        if built.val_interval > built.max_iters:
            raise UserError(f"{given}, which is more than train_cfg.max_iters, {built.max_iters}; 0 is no validation")
        return built

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> GuardedOptimWrapper:
        """MMEngine's wrapper, which must be a guarded one.

        Raises:
            UserError: It is another, or an option is refused.
        """
        with as_user_errors("optim_wrapper"):
            built = super().build_optim_wrapper(optim_wrapper)
        if not isinstance(built, GuardedOptimWrapper):
            name = type(built).__name__
            raise UserError(f"optim_wrapper is a {name}; use GuardedOptimWrapper, or a class derived from it")
        return built

    def load_checkpoint(self, filename: str, **_: Any) -> dict:
        """Load weights, and say which options of the model were others when they were trained.

        Raises:
            UserError: As :meth:`_load`.
        """
        checkpoint = self._load(filename)
        if not self.checkpoint_meta.get("starts_fresh"):
            for line in trained_otherwise(self.checkpoint_meta.get("model"), self.cfg.model.to_dict()):
                self.logger.warning(f"{Path(filename).name} was trained otherwise: {line}")
        return checkpoint

    def _load(self, filename: str) -> dict:
        """Load weights; every name and shape must agree with the model.

        A converted backbone says, by the beginnings of names in ``meta["starts_fresh"]``, what it leaves to the
        config's initial weights.

        Raises:
            UserError: The file can't be read, or belongs to another config; names the first difference.
        """
        checkpoint = load_checkpoint(filename)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        weights = checkpoint.get("state_dict", checkpoint)
        model = unwrap(self.model)
        self.checkpoint_meta = checkpoint.setdefault("meta", {}) if "state_dict" in checkpoint else {}
        fresh = tuple(self.checkpoint_meta.get("starts_fresh", ()))
        expected = {name: value for name, value in model.state_dict().items() if not name.startswith(fresh)}
        check_weights(expected, weights, filename)
        model.load_state_dict(weights, strict=not fresh)
        self._has_loaded = True
        left = [f"{part.rstrip('.')} ({sum(n.startswith(part) for n in model.state_dict())} tensors)" for part in fresh]
        self.logger.info(f"loaded {filename}" + (f"; left to the config: {', '.join(left)}" if left else ""))
        return checkpoint


def _raise(_record: logging.LogRecord) -> None:
    raise


def _for_people(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return record.levelno >= logging.ERROR or not ("\n" in text or any(part in text for part in CHATTER))

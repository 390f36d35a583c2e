"""Train a config."""

import importlib.util
import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ..data import TrainingSet
from ..engine import JEPATRunner
from ..engine.checkpoint import Interrupted, last_checkpoint
from ..engine.compat import explain_lost_process, leave_process_group
from ..errors import UserError
from ..files import find_checkpoint
from ..model import JEPAT
from ..registry import load_plugins
from ..saved import check_names, registered_names
from ..trainable import unwrap
from .shared import add_run_arguments, resume_command, run_config


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``train`` takes."""
    add_run_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the newest checkpoint of the work dir, or from this one",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the training that is in the work dir")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast, on a GPU or a CPU")


def run(args: Namespace) -> None:
    """Build and train."""
    load_plugins()
    known = registered_names()  # before the config imports more
    cfg = run_config(args)
    if cfg.get("train_cfg") is None:
        raise UserError(f"{args.config} has no train_cfg; train one of the configs that do")
    if args.amp:
        cfg.optim_wrapper.precision = "bf16"
    if args.resume or cfg.get("resume"):
        cfg.resume = True
        named = args.resume or cfg.get("load_from")  # a config's resume goes on from its own load_from
        cfg.load_from = find_checkpoint(named if named not in (None, "auto") else cfg.work_dir)
    cfg.overwrite = args.overwrite or cfg.get("overwrite", False)
    _add_tensorboard(cfg)
    runner = JEPATRunner.from_cfg(cfg)
    remedy = f"go on with: {resume_command(args.words, args.resume)}"
    try:
        with explain_lost_process(remedy):
            runner.train()
    except Interrupted as stop:
        raise Interrupted(f"{stop}\n{remedy}") from None
    if is_main_process():
        print(f"trained; saved in {_from_here(last_checkpoint(runner))}; next: {next_command(runner, args, known)}")
    del runner
    leave_process_group()


def next_command(runner: Runner, args: Namespace, known: set[str]) -> str:
    """The command that shows what a training has learned: draws one of its captions, or tests what draws nothing.

    Args:
        runner: Of the training.
        args: That it was started with.
        known: Names of components that are found without its config.
    """
    changes = ["--cfg-options", *args.cfg_options] if args.cfg_options else []
    if not isinstance(unwrap(runner.model), JEPAT):
        place = ["--work-dir", args.work_dir] if args.work_dir else []
        return shlex.join(["jepa-t", "test", args.config, *place, *changes])
    data = runner.train_dataloader.dataset
    caption = data.captions[0] if isinstance(data, TrainingSet) else "a caption"
    own = ["--config", args.config, *changes] if _needs_config(runner.cfg, known) else []
    return shlex.join(["jepa-t", "sample", _from_here(runner.work_dir), caption, *own])


def _needs_config(cfg: Config, known: set[str]) -> bool:
    """Whether a trained model can't be read without its config, which alone may import."""
    try:
        check_names(cfg.model.to_dict(), known)
    except UserError:
        return True
    return bool(cfg.get("custom_imports"))


def _from_here(path: str) -> str:
    """A path as it is told: from the present folder, if it lies in it."""
    return str(Path(path).relative_to(Path.cwd()) if Path(path).is_relative_to(Path.cwd()) else path)


def _add_tensorboard(cfg: Config) -> None:
    """Write for TensorBoard too, where it is installed and the config says what draws."""
    tensorboard = {"type": "TensorboardVisBackend"}
    if not cfg.get("visualizer") or not importlib.util.find_spec("tensorboard"):
        return
    backends = cfg.visualizer.get("vis_backends") or []
    if tensorboard not in backends:
        cfg.visualizer.vis_backends = [*backends, tensorboard]

"""What the command-line tools share."""

import functools
import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from mmengine.config import Config

from ..errors import UserError
from ..registry import load_plugins
from . import compat
from .config import load_config


def friendly(main: Callable[..., int | None]) -> Callable[..., int]:
    """Make a tool's main return its exit code: 0, 2 after a mistake told in one line, 130 after Ctrl-C."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> int:
        try:
            code = main(*args, **kwargs) or 0
            compat.disband()
            return code
        except (UserError, OSError) as error:  # a path that can't be read or written is the user's to mend as well
            sys.stderr.write(f"error: {error}\n")
            return 2
        except KeyboardInterrupt as stop:
            sys.stderr.write(f"{str(stop) or 'stopped'}\n")
            return 130

    return wrapped


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of every tool that runs a config."""
    parser.add_argument("config", help="config file, such as configs/jepat_digits.py")
    parser.add_argument("--work-dir", help="where to write; default work_dirs/<config name>")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="change the config, such as train_cfg.max_iters=500 model.width=128",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")


def run_config(args: Namespace) -> Config:
    """The checked config that the arguments of :func:`add_run_arguments` ask for, with processes started."""
    load_plugins()
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    cfg.launcher = args.launcher
    compat.distribute(cfg)
    return cfg


def resume_command(argv: list[str], resume: str | None) -> str:
    """The command that goes on, from its newest checkpoint, with the run that ``argv`` started.

    Args:
        argv: The words of that command.
        resume: What its ``--resume`` was followed by, if anything.
    """
    words = list(argv)
    if "--resume" in words:
        place = words.index("--resume")
        del words[place : place + (2 if words[place + 1 : place + 2] == [resume] else 1)]
    if "WORLD_SIZE" not in os.environ:
        return shlex.join(["python", *words, "--resume"])
    if os.environ.get("GROUP_WORLD_SIZE") == "1":  # torchrun on one machine
        return shlex.join(["torchrun", "--nproc_per_node", os.environ["WORLD_SIZE"], *words, "--resume"])
    return f"the same launcher and {shlex.join([*words, '--resume'])}"

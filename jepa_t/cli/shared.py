"""What several subcommands share."""

import json
import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from ..engine import compat, load_config
from ..files import write_atomically
from ..registry import load_plugins


def path(text: str) -> str:
    """A path that an argument names, with ``~`` for the home folder: in ``--out=~/x`` a shell leaves it as it is."""
    return os.path.expanduser(text)


def add_config_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of every command that reads a config."""
    parser.add_argument("config", help="a config that comes with jepa_t, such as jepat_digits, or a file of your own")
    add_cfg_options(parser, "the config")


def add_launcher(parser: ArgumentParser) -> None:
    """Add ``--launcher``."""
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of every command that runs a config in a work dir."""
    add_config_arguments(parser)
    parser.add_argument("--work-dir", help="where to write; default work_dirs/<config name>")
    add_launcher(parser)


def add_cfg_options(parser: ArgumentParser, what: str) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help=f"change {what}, such as train_cfg.max_iters=500 model.width=128",
    )


def run_config(args: Namespace) -> Config:
    """The checked config that the arguments ask for, with processes started."""
    load_plugins()
    cfg = load_config(args.config, args.cfg_options, vars(args).get("work_dir"))
    cfg.launcher = vars(args).get("launcher", "none")
    compat.distribute(cfg)
    return cfg


def command(words: list[str]) -> str:
    """The command that starts this program again, in one line for a shell.

    Args:
        words: The subcommand and what follows.
    """
    script = Path(sys.argv[0])
    of_tools = script.suffix == ".py" and script.name != "__main__.py"  # which names its subcommand itself
    python = [sys.argv[0], *words[1:]] if of_tools else ["-m", "jepa_t", *words]
    if "WORLD_SIZE" not in os.environ:
        return shlex.join(["python", *python] if script.suffix == ".py" else ["jepa-t", *words])
    if os.environ.get("GROUP_WORLD_SIZE") == "1":  # torchrun on one machine
        return shlex.join(["torchrun", "--nproc_per_node", os.environ["WORLD_SIZE"], *python])
    return f"the same launcher and {shlex.join(python)}"


def resume_command(words: list[str], resume: str | None) -> str:
    """The command that goes on, from its newest checkpoint, with the training that ``words`` started.

    Args:
        words: The subcommand and what follows.
        resume: What its ``--resume`` was followed by, if anything.
    """
    words = list(words)
    if "--resume" in words:
        place = words.index("--resume")
        del words[place : place + (2 if words[place + 1 : place + 2] == [resume] else 1)]
    return command([*words, "--resume"])


def show_figures(figures: Mapping[str, object]) -> None:
    """Print a table of figures."""
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console().print(table)


def write_json(path: str | Path, facts: dict) -> None:
    """Write facts to a file, whole or not at all."""
    write_atomically(path, lambda file: file.write(json.dumps(facts, indent=2).encode()))

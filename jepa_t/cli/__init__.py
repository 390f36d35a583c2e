"""The command ``jepa-t``: a module of this folder for each subcommand, imported when it is asked for."""

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __doc__ as ABOUT
from ..annotations import check_size
from ..errors import UserError, unknown
from ..interrupts import kept_interrupts

COMMANDS = {
    "train": "train a config",
    "test": "draw for a config's prompts and measure the images",
    "sample": "draw images for captions",
    "demo": "a page to play with, in the browser",
    "publish": "a trained model as a folder to share, or on the hub, with a model card",
    "benchmark": "compare variants with paired seeds: tables and plots",
    "cache-latents": "encode a config's training images once",
    "convert": "a public checkpoint as one of ours",
    "statistics": "statistics of real images, for FID",
    "evaluate": "FID and its kin of any images",
    "profile": "where the time of a training step goes",
}


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are told in one line, as all others are; what is given isn't empty, nor NaN."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        found = super()._get_values(action, arg_strings)
        for name in action.option_strings[:1]:
            if "" in arg_strings:
                raise UserError(f"{name} is empty; give a value, or leave it out")
            for value in found if isinstance(found, list) else [found]:
                check_size(name, value)
        return found

    def error(self, message: str) -> NoReturn:
        """Raise, where argparse would print its usage and leave."""
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand: ``add_arguments(parser)`` and ``run(args)`` of its module.

    Args:
        arguments: Its name and what follows; by default what this process was given.

    Returns:
        The exit code: 0, 2 after a mistake told in one line, 130 after Ctrl-C, or what the subcommand says.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with kept_interrupts():
            return _run([word for word in words if word != "--traceback"])
    except (UserError, OSError) as error:  # a path that can't be read or written is the user's to mend as well
        if "--traceback" in words:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{str(stop) or 'stopped'}\n")
        return 130


def _run(words: list[str]) -> int:
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        listed = [f"  {command:15}{what}" for command, what in COMMANDS.items()]
        print(ABOUT.splitlines()[0], "", *listed, "", "jepa-t COMMAND --help says what a command takes.", sep="\n")
        return 0
    if name == "--version":
        from .. import __version__

        print(f"jepa_t {__version__}")
        return 0
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    command = importlib.import_module(f".{name.replace('-', '_')}", __name__)
    parser = Parser(f"jepa-t {name}", description=command.__doc__, epilog="--traceback shows where a mistake lies")
    command.add_arguments(parser)
    return command.run(parser.parse_args(words[1:], argparse.Namespace(words=words))) or 0

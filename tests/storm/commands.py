"""Every option of every command with a wrong value, beside what the command needs to succeed."""

import argparse
import contextlib
import functools
import importlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import children
import kills
import small_configs
import tiny
import tiny_features
import tiny_run
import torch
from ldm_reference import ldm_weights

from jepa_t import cli
from jepa_t.cli import Parser
from jepa_t.errors import UserError

GIVEN = ["-1", "0", "1.5", "nan", "inf", str(10**20), "", "é", "no such thing", "-"]  # on a command line
INPUTS = {*small_configs.NAMES, "cached.py", "card.md", "metrics.json", "set", "own"}  # files that cases read
FEATURES = ["--features", f"weights={tiny_features.inception_weights()}", "layer=64", "--workers", "0"]
FEW = ["--cfg-options", "test_dataloader.dataset.per_split=2"]


@functools.cache
def _autoencoder() -> str:
    """An LDM-style file; it goes with the process."""
    path = tiny.folder() / "kl16.ckpt"
    torch.save({"model": ldm_weights((32, 32), blocks=1, latents=4, attention=(1,))}, path)
    return str(path)


def _published() -> list[str]:
    return ["publish", str(tiny_run.checkpoint()), "published", "--card", "card.md", "--metrics", "metrics.json"]


# The least that each command needs, and succeeds with, by the words that say which it is.
PLAIN: dict[str, Callable[[], list[str]]] = {
    "train": lambda: ["train", "small.py", "--work-dir", "other", "--cfg-options", "train_cfg.max_iters=1"],
    "test": lambda: ["test", "small.py", str(tiny_run.checkpoint()), *FEW],
    "sample": lambda: ["sample", str(tiny_run.checkpoint()), "a red three"],
    "demo": lambda: ["demo", str(tiny_run.checkpoint())],
    "publish": _published,
    "benchmark": lambda: ["benchmark", "fusion", "--configs", "small.py", "--preset", "smoke", "--no-match"],
    "benchmark speed": lambda: ["benchmark", "speed"],
    "cache-latents": lambda: ["cache-latents", "cached.py", "--out", "cache"],
    "convert mar-vae": lambda: ["convert", "mar-vae", _autoencoder(), "vae"],
    "statistics": lambda: ["statistics", "set", "out.npz", *FEATURES],
    "evaluate": lambda: ["evaluate", "set", "set", "--allow-few", *FEATURES],
    "profile": lambda: ["profile", "small.py", "--steps", "2"],
}  # not "convert djepa" and "convert jepat", whose options are files: the storm of hostile files has these
# Where a command's hours begin, or its end is a person's: only what comes before is tried.
BEGUN = {
    "jepa_t.cli.benchmark.run_suite": lambda *_: ([], []),
    "jepa_t.demo.page.launch": lambda *_: "http://127.0.0.1",
    "jepa_t.cli.demo.threading": mock.Mock(Event=lambda: mock.Mock(wait=lambda: None), spec=threading),
}


def prepare(folder: Path) -> None:
    """Put what the cases need into an empty folder, and see that each command succeeds with nothing wrong.

    Raises:
        RuntimeError: One doesn't, so that its cases would say nothing.
    """
    small_configs.prepare(folder)
    (folder / "card.md").write_text("$size")
    (folder / "metrics.json").write_text("{}")
    (folder / "cached.py").write_text(kills.CACHED.format(source=tiny.pretrained_kl()["source"]))
    for words in PLAIN.values():
        ended = children.run(lambda: run(folder, words()), folder)  # noqa: B023
        if ended.code:
            raise RuntimeError(f"{words()}: {ended.said}")


def clear(folder: Path) -> None:
    """Remove what an earlier case has left, which the next might be refused for."""
    for path in folder.iterdir():
        if path.name not in INPUTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def cases(folder: Path) -> Iterator[tuple[str, str, Callable[[], object], Any]]:
    """Every option that takes a value: its name, the value, what tries it, and what it is where it isn't given."""
    for name, plain in PLAIN.items():
        for action in _actions(name):
            if action.option_strings and action.nargs != 0:
                for text in GIVEN:
                    words = [*plain(), action.option_strings[0], text]
                    where = f"{name} {action.option_strings[0]}"
                    yield where, text, lambda w=words: run(folder, w), action.default


def _actions(name: str) -> list[argparse.Action]:
    """What a command takes, or a kind of it, such as ``convert mar-vae``."""
    command, *kind = name.split()
    parser = Parser(command)
    importlib.import_module(f"jepa_t.cli.{command.replace('-', '_')}").add_arguments(parser)
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return (below[0].choices[kind[0]] if below else parser)._actions


def run(folder: Path, words: list[str]) -> None:
    """A command in an empty folder, up to where its hours begin.

    Raises:
        UserError: As a person would be told; or the command says that it failed.
    """
    clear(folder)
    with contextlib.ExitStack() as stack:
        for target, stand_in in BEGUN.items():
            stack.enter_context(mock.patch(target, stand_in))
        try:
            code = cli._run(words)
        except OSError as error:  # as cli.main does
            raise UserError(str(error)) from error
    if code:
        raise UserError(f"code {code}")

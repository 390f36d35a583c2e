"""Checkpoints and work dirs, as somebody might send them."""

import functools
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import children
import kills
import tiny
import tiny_run
import torch

from jepa_t.cli import main
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint
from jepa_t.pipeline import Pipeline

RESUMED = "a resumed checkpoint: "


class Calls:
    """Its pickle calls a function when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def draw() -> None:
    """Read the checkpoint, and draw one image."""
    Pipeline.from_pretrained("iter_1.pth", device="cpu")("a red three", [0])


def resume() -> None:
    """Go on with the training in ``work``."""
    code = main(["train", "fake.py", "--work-dir", "work", "--resume"])
    if code:
        raise UserError("refused")  # the command has told why, in a line that is counted


def cases() -> Iterator[tuple]:
    """Name, maker, reader, whether it is harmless."""
    for name, write in FILES.items():
        yield f"checkpoint: {name}", partial(_write, write), draw
    for name, change in CHANGES.items():
        yield RESUMED + name, partial(_changed, change), resume, name in HARMLESS
    for name, damage in WORK_DIRS.items():
        yield f"work dir: {name}", partial(_damaged, damage), resume, True


def _write(write: Callable[[Path], object], folder: Path) -> None:
    write(folder / "iter_1.pth")


def _trained(folder: Path) -> Path:
    """A work dir of a training that was stopped."""
    shutil.copytree(_stopped(), folder, dirs_exist_ok=True)
    return folder / "work"


@functools.cache
def _stopped() -> Path:
    job, folder = kills.trainings()[0], tiny.folder() / "stopped"
    folder.mkdir()
    job.prepare(folder)
    words = [*job.words(folder), "--cfg-options", "train_cfg.max_iters=4"]
    ended = children.run(lambda: main(words), folder)
    assert not ended.code, ended.said
    return folder


def _changed(change: Callable[[dict], object], folder: Path) -> None:
    path = _trained(folder) / "iter_4.pth"
    checkpoint = load_checkpoint(str(path))
    change(checkpoint)
    torch.save(checkpoint, path)
    for other in (folder / "work").glob("iter_[0-3].pth"):
        other.unlink()


def _damaged(damage: Callable[[Path], object], folder: Path) -> None:
    damage(_trained(folder))
    torch.save({"state_dict": {"a": torch.ones(1)}}, folder.parent / "secret.pth")


def _meta(name: str, value: Any) -> Callable[[dict], None]:
    return lambda checkpoint: checkpoint["meta"].update({name: value})


def _part(name: str, value: Any) -> Callable[[dict], None]:
    return lambda checkpoint: checkpoint.update({name: value})


def _sound() -> dict:
    return load_checkpoint(str(tiny_run.checkpoint()))


def _state(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        checkpoint = _sound()
        checkpoint["state_dict"] = change(checkpoint["state_dict"])
        torch.save(checkpoint, path)

    return write


def _model(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        checkpoint = _sound()
        checkpoint["meta"]["model"] = change(checkpoint["meta"]["model"])
        torch.save(checkpoint, path)

    return write


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(b"\0" * 10**7)  # 2 GB in 2 MB


def _cut(path: Path) -> None:
    torch.save(_sound(), path)
    path.write_bytes(path.read_bytes()[:5000])


def _flip(path: Path) -> None:
    torch.save(_sound(), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FILES: dict[str, Callable[[Path], object]] = {
    "its pickle starts a program": lambda path: torch.save({"state_dict": Calls(os.system, "touch owned")}, path),
    "its pickle evaluates": lambda path: torch.save(Calls(eval, "open('owned', 'w')"), path),
    "its pickle imports": lambda path: torch.save(Calls(__import__, "antigravity"), path),
    "an old pickle": lambda path: path.write_bytes(pickle.dumps(Calls(os.system, "touch owned"))),
    "a bomb": _bomb,
    "cut": _cut,
    "a flipped bit": _flip,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "weights that are a list": _state(lambda state: [*state.values()]),
    "weights that are texts": _state(lambda state: dict.fromkeys(state, "x")),
    "weights by numbers": _state(lambda state: dict(enumerate(state.values()))),
    "weights that repeat without end": _state(
        lambda state: {n: v.sum().expand(10**6, 10**6) for n, v in state.items()}
    ),
    "a sparse weight": _state(lambda state: {n: v.to_sparse() if v.dim() == 2 else v for n, v in state.items()}),
    "a complex weight": _state(lambda state: {n: v.to(torch.complex64) for n, v in state.items()}),
    "a weight on no device": _state(lambda state: {n: v.to("meta") for n, v in state.items()}),
    "a config that is a list": _model(lambda _: [1]),
    "a config with a dotted type": _model(lambda model: model | {"type": "os.system"}),
    "a config of another width": _model(lambda model: model | {"width": 32}),
    "a config nested deep": _model(lambda model: model | {"fusion": _nested(400)}),
}
CHANGES: dict[str, Callable[[dict], object]] = {
    "a thousand million threads": _meta("threads", 10**9),
    "threads that are a text": _meta("threads", "many"),
    "a seed that is a text": _meta("seed", "x"),
    "a seed of 200 bits": _meta("seed", 2**200),
    "a step that is a text": _meta("iter", "x"),
    "a step below 0": _meta("iter", -1),
    "a step of 10**18": _meta("iter", 10**18),
    "samples that are a list": _meta("train_samples", [1]),
    "seconds that are a text": _meta("train_seconds", "x"),
    "settings that are a list": _meta("settings", [1]),
    "settings nested deep": _meta("settings", {"model": {"a": 1}}),
    "facts that are a list": _part("meta", [1]),
    "an optimizer that is a text": _part("optimizer", "x"),
    "an optimizer without parts": _part("optimizer", {}),
    "averages of other shapes": lambda c: [s.update(exp_avg=torch.ones(7)) for s in c["optimizer"]["state"].values()],
    "averages that are texts": lambda c: [s.update(exp_avg="x") for s in c["optimizer"]["state"].values()],
    "averages that are no numbers": lambda c: [s["exp_avg"].fill_(torch.nan) for s in c["optimizer"]["state"].values()],
    "a message hub that is a text": _part("message_hub", "x"),
    "a message hub of rubbish": _part("message_hub", {"log_scalars": 1, "runtime_info": 2, "resumed_keys": 3}),
    "schedules of rubbish": _part("param_schedulers", [1, 2]),
    "a config that opens a file": _meta("cfg", "open('owned', 'w')"),
}
HARMLESS = {"settings nested deep", "schedules of rubbish", "a config that opens a file"}
WORK_DIRS: dict[str, Callable[[Path], object]] = {
    "last_checkpoint leads out": lambda work: (work / "last_checkpoint").write_text("../../secret.pth"),
    "last_checkpoint of 50 MB": lambda work: (work / "last_checkpoint").write_bytes(b"\0" * 50 * 2**20),
    "last_checkpoint is a folder": lambda work: [
        (work / "last_checkpoint").unlink(),
        (work / "last_checkpoint").mkdir(),
    ],
    "a checkpoint that is a pipe": lambda work: os.mkfifo(work / "iter_99.pth"),
    "a checkpoint that is a folder": lambda work: (work / "iter_98.pth").mkdir(),
    "a link to itself": lambda work: (work / "iter_97.pth").symlink_to("iter_97.pth"),
}


def _nested(depth: int) -> dict:
    node: dict = {}
    for _ in range(depth):
        node = {"a": node}
    return node

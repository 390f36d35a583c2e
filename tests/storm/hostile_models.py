"""Model folders, as somebody might upload them."""

import functools
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tiny
import tiny_run
import torch
from safetensors.torch import load_file, save_file

from jepa_t.pipeline import Pipeline

CASE = "model folder: "


@functools.cache
def sound() -> Path:
    """A folder as :meth:`Pipeline.save_pretrained` writes it."""
    folder = tiny.folder() / "sound"
    Pipeline.from_pretrained(tiny_run.checkpoint(), device="cpu").save_pretrained(folder)
    return folder


def draw() -> None:
    """Read the folder, and draw one image."""
    Pipeline.from_pretrained("model", device="cpu")("a red three", [0])


def cases() -> Iterator[tuple]:
    """Name, maker, reader, whether it is harmless."""
    for name, change in CONFIGS.items():
        yield CASE + name, functools.partial(_with_config, change), draw, name in HARMLESS
    for name, text in TEXTS.items():
        yield CASE + name, functools.partial(_with_text, text), draw
    for name, damage in WEIGHTS.items():
        yield CASE + name, functools.partial(_with_weights, damage), draw


def copied(folder: Path) -> Path:
    """The sound model in a folder of its own."""
    return Path(shutil.copytree(sound(), folder / "model"))


def _with_config(change: Callable[[dict], object], folder: Path) -> None:
    path = copied(folder) / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    (folder / "model" / "auto").mkdir()
    auto = {"model_type": "strange", "auto_map": {"AutoModel": "code.Model", "AutoTokenizer": ["code.T", None]}}
    (folder / "model" / "auto" / "config.json").write_text(json.dumps(auto))
    (folder / "model" / "auto" / "code.py").write_text("import os\nos.system('touch owned')\n")
    (folder.parent / "classes.txt").write_text("a\nb\n")
    torch.save({"state_dict": {}}, folder.parent / "secret.pth")


def _with_text(text: str, folder: Path) -> None:
    (copied(folder) / "config.json").write_text(text)


def _with_weights(damage: Callable[[Path], object], folder: Path) -> None:
    damage(copied(folder) / "model.safetensors")


def _set(*path_and_value: Any) -> Callable[[dict], None]:
    *parents, last, value = path_and_value

    def change(config: dict) -> None:
        for part in parents:
            config = config.setdefault(part, {})
        config[last] = value

    return change


CONFIGS: dict[str, Callable[[dict], object]] = {
    "a width of ten million": _set("width", 10**7),
    "a width below 0": _set("width", -16),
    "a width that is a text": _set("width", "16"),
    "a depth of ten million": _set("encoder", "depth", 10**7),
    "a predictor without end": _set("predictor", "depth", 10**12),
    "a hundred million registers": _set("encoder", "registers", 10**8),
    "heads that divide by 0": _set("encoder", "heads", 0),
    "a vocabulary of 10**12": _set("text_tokenizer", "vocabulary", 10**12),
    "captions of 10**12 words": _set("text_tokenizer", "length", 10**12),
    "images of 10**6 x 10**6": _set("image_tokenizer", "size", [10**6, 10**6]),
    "a patch of 0 pixels": _set("image_tokenizer", "patch", 0),
    "10**12 sampling steps": _set("sampler", "steps", 10**12),
    "10**12 denoising steps": _set("sampler", "draw", {"solver_steps": 10**12}),
    "a thousand million denoising steps": _set("sampler", "draw", {"solver_steps": 10**9}),
    "guidance that is no number": _set("sampler", "guidance_scale", float("nan")),
    "a type that is a list": _set("type", ["JEPAT"]),
    "a type that is a program": _set("fusion", {"features": {"type": "os.system"}}),
    "a type that evaluates": _set("encoder", "type", "builtins.eval"),
    "a reveal order that is a program": _set("sampler", "order", "os.system"),
    "a solver that is a program": _set("sampler", "draw", {"solver": "os.system"}),
    "a mask ratio that is a program": _set("mask_ratio", "type", "subprocess.call"),
    "a training loop in the place of a model": _set("type", "TrainLoop"),
    "no objective": _set("objectives", {}),
    "a key that nobody knows": _set("__class__", "x"),
    "a text encoder with code of its own": _set("text_tokenizer", {"type": "HFText", "model": "model/auto"}),
    "a class list outside": _set("text_tokenizer", {"type": "ClassEmbedding", "names": "../classes.txt", "width": 16}),
    "an autoencoder outside": _set(
        "image_tokenizer",
        {"type": "QuantizedAutoencoder", "checkpoint": "../secret.pth", "size": [8, 8], "stride": 4},
    ),
}
HARMLESS = {"10**12 sampling steps"}  # no more than there are tokens
TEXTS = {
    "a config that is a list": "[1, 2]",
    "a config that is empty": "",
    "a config nested 50,000 deep": "[" * 50_000 + "]" * 50_000,
    "a number of 50,000 digits": '{"width": ' + "9" * 50_000 + "}",
    "a config that is no text": "\x00\xff\x00",
}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)


def _long_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def _offsets_beyond(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def _overlapping(path: Path) -> None:
    part = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"a": part, "b": part}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def _changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        weights = load_file(path)
        name = "ema.encoder.registers"
        save_file(weights | {name: change(weights[name])}, path)

    return damage


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "weights that are cut": _cut,
    "weights with a flipped bit": _flip,
    "weights with an endless header": _long_header,
    "weights beyond the file": _offsets_beyond,
    "weights that overlap": _overlapping,
    "weights of whole numbers": _changed(lambda value: value.to(torch.int8)),
    "weights of another shape": _changed(lambda value: value.repeat(2, 1)),
    "weights that are no numbers": _changed(lambda value: value * float("nan")),
    "weights without end": _changed(lambda value: value / 0),
    "weights that are a pickle": lambda path: torch.save({"a": torch.ones(1)}, path),
    "weights that are a pipe": _fifo,
    "no weights": Path.unlink,
}

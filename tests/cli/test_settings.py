"""Every option of every command: given, it changes what comes out, or it is refused."""

import argparse
import contextlib
import importlib
import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_run
import torch

from jepa_t.cli import COMMANDS, Parser, main
from jepa_t.engine.hooks import HoldTokensHook
from jepa_t.errors import UserError
from jepa_t.model import JEPAT

IMAGES = ["IMAGES", "--features", "type=InceptionFeatures"]
PLAIN = {  # the least that each command is started with; a folder in the place of IMAGES
    "train": ["small.py"],
    "test": ["small.py", "iter_1.pth"],
    "sample": ["iter_1.pth", "a red three"],  # an image or a mask alone is refused
    "demo": ["iter_1.pth"],
    "publish": ["iter_1.pth", "out", "--card", "card.md", "--metrics", "metrics.json"],
    "benchmark": ["fusion"],
    "cache-latents": ["small.py", "--out", "cache"],
    "convert djepa": ["theirs.pth", "ours.pth"],
    "convert jepat": ["theirs.pth", "ours.pth"],
    "convert mar-vae": ["theirs.pth", "ours"],
    "statistics": ["images", "out.npz"],
    "evaluate": ["images", "real"],
    "profile": ["small.py", "--steps", "2"],
}
OPTIONS = {  # of each command, every option and what it is given
    "train": {
        "--work-dir": ["other"],
        "--cfg-options": ["model.width=32"],
        "--launcher": ["pytorch"],
        "--resume": ["iter_1.pth"],
        "--overwrite": [],
        "--amp": [],
    },
    "test": {
        "--work-dir": ["other"],
        "--cfg-options": ["model.sampler.guidance_scale=2.0"],
        "--launcher": ["pytorch"],
        "--preset": ["fast"],
        "--amp": [],
    },
    "sample": {
        "--seed": ["3"],
        "--count": ["2"],
        "--preset": ["fast"],
        "--guidance": ["4.0"],
        "--temperature": ["0.5"],
        "--steps": ["1"],
        "--solver": ["heun"],
        "--solver-steps": ["4"],
        "--order": ["halton"],
        "--negative": ["the digit five"],
        "--image": ["image.png"],
        "--mask": ["0.5"],
        "--region": ["the digit five", "image.png"],
        "--animate": [],
        "--word-maps": [],
        "--revision": ["main"],
        "--out": ["elsewhere"],
        "--batch-size": ["0"],
        "--device": ["tpu"],
        "--amp": [],
        "--config": ["wide.py"],
        "--cfg-options": ["model.width=32"],
    },
    "demo": {"--port": ["0"], "--device": ["tpu"]},
    "publish": {
        "--card": ["other.md"],
        "--metrics": ["other.json"],
        "--data": ["scans"],
        "--licence": ["cc0-1.0"],
        "--captions": ["a red three"],
        "--push": ["user/model"],
        "--private": [],
        "--revision": ["main"],
    },
    "benchmark": {
        "--preset": ["smoke"],
        "--tasks": ["digits"],
        "--arms": ["late"],
        "--configs": ["small.py"],
        "--fusion": ["Add"],
        "--seeds": ["2"],
        "--jobs": ["3"],
        "--no-match": [],
        "--minutes": ["3"],
        "--out": ["elsewhere"],
    },
    "cache-latents": {
        "--cfg-options": ["train_dataloader.dataset.size=3"],
        "--launcher": ["slurm"],
        "--out": ["elsewhere"],
        "--batch-size": ["3"],
        "--shard": ["5"],
        "--verify": [],
    },
    "convert djepa": {"--image-tokenizer": ["kl"], "--names": ["names.txt"]}
    | {"--backbone": [], "--ema": [], "--raw": []},
    "convert jepat": {"--image-tokenizer": ["kl"], "--text-encoder": ["model", "weights"]}
    | {"--backbone": [], "--ema": [], "--raw": []},
    "convert mar-vae": {"--scale": ["0.5"]},
    "statistics": {
        "--size": ["8"],
        "--keep": [],
        "--features": ["type=DINOv2Features"],
        "--batch-size": ["2"],
        "--workers": ["0"],
    },
    "evaluate": {
        "--allow-few": [],
        "--out": ["figures.json"],
        "--features": ["type=DINOv2Features"],
        "--batch-size": ["2"],
        "--workers": ["0"],
    },
    "profile": {"--cfg-options": ["train_dataloader.batch_size=3"], "--batch-size": ["2"], "--steps": ["3"]},
}


def parsers():
    """The parser of each command, and of each kind that ``convert`` takes."""
    for name in COMMANDS:
        parser = Parser(name)
        importlib.import_module(f"jepa_t.cli.{name.replace('-', '_')}").add_arguments(parser)
        kinds = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        yield from ((f"{name} {kind}", own) for kind, own in kinds[0].choices.items()) if kinds else [(name, parser)]


def test_every_option_is_looked_at():
    found = {
        name: {a.option_strings[0] for a in parser._actions if a.option_strings} - {"-h"} for name, parser in parsers()
    }
    assert found == {name: set(options) for name, options in OPTIONS.items()}


PATHS = {"--out", "--image", "--mask", "--card", "--metrics", "--names", "folder", "out", "source"}


def test_the_home_folder_may_stand_in_every_path(monkeypatch):
    """A shell expands ``--out ~/x``, and leaves ``--out=~/x`` as it is."""
    monkeypatch.setenv("HOME", "/home/somebody")
    for _, parser in parsers():
        for action in parser._actions:
            if PATHS & {*action.option_strings, action.dest}:
                given = parser._get_values(action, ["~/x"])
                assert given == "/home/somebody/x", (parser.prog, action.dest)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    (folder / "small.py").write_text(tiny_run.CONFIG + "test_dataloader['dataset'].update(per_split=2)\n")
    (folder / "wide.py").write_text('_base_ = ["small.py"]\nmodel = dict(width=32)\n')
    for name in ("card.md", "other.md"):
        (folder / name).write_text(f"{name}: $figures $data $licence")
    for name in ("metrics.json", "other.json"):
        (folder / name).write_text(json.dumps({f"seen/{name}": 0.5}))
    shutil.copy(tiny_run.checkpoint(), folder / "iter_1.pth")
    return folder


class Told:
    """What the heavy parts of commands were asked to do."""

    def __init__(self, monkeypatch):
        self.calls, self.monkeypatch = [], monkeypatch

    def instead(self, module, name, result=None):
        """Put a note in the place of a function."""

        def noted(*args, **kwargs):
            self.calls.append((name, repr(args), repr(sorted(kwargs.items()))))
            return result

        self.monkeypatch.setattr(importlib.import_module(f"jepa_t.{module}"), name, noted)


def silenced(told, command):
    """Put notes in the place of all that takes long."""
    if command == "train":
        stub = SimpleNamespace(
            from_cfg=lambda cfg: told.calls.append(("cfg", cfg.to_dict())) or SimpleNamespace(train=dict, hooks=[])
        )
        told.monkeypatch.setattr("jepa_t.cli.train.JEPATRunner", stub)
        told.monkeypatch.setattr("jepa_t.cli.train.next_command", lambda *_: "")
    elif command == "benchmark":
        told.instead("cli.benchmark", "plan", {})
        told.instead("cli.benchmark", "run_suite", ([], []))
        told.instead("cli.benchmark", "pyplot")
    elif command == "cache-latents":
        told.instead("cli.cache_latents", "build", torch.nn.Identity())
        told.instead("cli.cache_latents", "verify", 0)
        told.instead("cli.cache_latents", "write_cache", [])
        told.instead("cli.cache_latents", "Cache", SimpleNamespace(shards={}, absent=["00000"]))
    elif command.startswith("convert"):
        told.instead("cli.convert", "convert_network", [])
        told.instead("cli.convert", "convert_autoencoder", [])
    elif command in ("statistics", "evaluate"):
        told.instead(f"cli.{command}", "open_images", range(4))
        told.instead(f"cli.{command}", "read", iter(()))
    if command == "statistics":
        told.instead("cli.statistics", "build")
        told.instead("cli.statistics", "save_statistics", 4)
    elif command == "evaluate":
        metric = SimpleNamespace(prepare=lambda *_: None, evaluate=lambda _: {}, facts={})
        told.instead("cli.evaluate", "DistributionMetric", metric)
    elif command == "publish":
        told.monkeypatch.setattr("jepa_t.hub.push", lambda *given, **_: told.calls.append(given))
    elif command == "demo":
        told.monkeypatch.setattr("threading.Event.wait", lambda _: None)
        told.instead("demo.page", "launch", "http://here")
        told.instead("demo.page", "build", SimpleNamespace(close=lambda **_: None))
        told.instead("demo.page", "gradio")
    elif command == "profile":
        report = lambda _plain, watched, _operators, size, *_: told.calls.append((size, len(watched.steps)))  # noqa: E731
        told.monkeypatch.setattr("jepa_t.cli.profile.report", report)
        told.monkeypatch.setattr(torch.profiler, "profile", contextlib.nullcontext)


def outcome(command, words, place, monkeypatch, capsys):
    """All that came of a command: its exit code, what it asked for, what it printed, and the files that it wrote."""
    told, seconds = Told(monkeypatch), ("test_seconds", "time")
    folder = Path(tempfile.mkdtemp(dir=place))
    for file in place.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    monkeypatch.chdir(folder)
    with monkeypatch.context() as patch:
        told.monkeypatch = patch
        silenced(told, command)
        code = main([*command.split(), *words])
    said = [line for line in capsys.readouterr().out.splitlines() if not any(word in line for word in seconds)]
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}
    kept = {n: p.read_bytes() for n, p in files.items() if p.suffix in (".png", ".json", ".md") and "vis_data" not in n}
    kept |= {n: _timeless(data) for n, data in kept.items() if n.endswith("metrics.json")}
    shutil.rmtree(folder)
    return code, [str(call) for call in told.calls], said, kept


def _timeless(data):
    return {name: value for name, value in json.loads(data).items() if not name.endswith("seconds")}


CASES = [(command, option) for command, options in OPTIONS.items() for option in options]


@pytest.mark.parametrize(("command", "option"), CASES)
def test_an_option_acts_or_is_refused(place, monkeypatch, capsys, plain_outcomes, command, option):
    words, given = list(PLAIN[command]), OPTIONS[command][option]
    if option in words:
        words[words.index(option) + 1] = given[0]
    else:
        words += [option, *given]
    if command not in plain_outcomes:
        plain_outcomes[command] = outcome(command, PLAIN[command], place, monkeypatch, capsys)
        assert plain_outcomes[command][0] == 0, plain_outcomes[command]
    assert outcome(command, words, place, monkeypatch, capsys) != plain_outcomes[command]


def test_a_config_that_resumes_goes_on_from_its_own_checkpoint(place, monkeypatch):
    monkeypatch.chdir(place)
    told = Told(monkeypatch)
    silenced(told, "train")
    assert main(["train", "small.py", "--cfg-options", "resume=True", "load_from=iter_1.pth"]) == 0
    assert told.calls[-1][1]["load_from"] == "iter_1.pth"


def test_profile_takes_groups_of_weights_and_no_tokenizer(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    told = Told(monkeypatch)
    silenced(told, "profile")
    groups = "optim_wrapper.paramwise_cfg={'no_decay': ['encoder']}"
    assert main(["profile", "small.py", "--steps", "2", "--cfg-options", groups]) == 0
    for words, says in ((["small.py", "--steps", "1"], "at least 2"), (["tokenizers/fsq_digits"], "TokenizerTraining")):
        assert main(["profile", *words]) == 2
        assert says in capsys.readouterr().err


def test_profile_holds_tokens_as_training_does(place, monkeypatch):
    monkeypatch.chdir(place)
    silenced(Told(monkeypatch), "profile")
    held = []
    monkeypatch.setattr(HoldTokensHook, "hold", lambda *given: held.append(given))
    assert main(["profile", "small.py", "--steps", "2"]) == 0
    assert held == []
    hooks = "custom_hooks=[{'type': 'HoldTokensHook', 'at_once': 8}]"
    assert main(["profile", "small.py", "--steps", "2", "--cfg-options", hooks]) == 0
    assert [(hook.at_once, type(model)) for hook, _, model in held] == [(8, JEPAT)]


@pytest.fixture(scope="module")
def plain_outcomes():
    return {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["benchmark", "report", "FOLDER", "--seeds", "3"], "report makes the tables again .* takes no --seeds"),
        (["cache-latents", "small.py", "--out", "c", "--verify", "--shard", "2"], "--verify .* takes no --shard"),
        (["sample", "iter_1.pth", "a red three", "--cfg-options", "a=1"], "name one with --config"),
        (["statistics", "images.npz", "out.npz", "--size", "8"], "have their size already"),
        (["profile", "small.py", "--work-dir", "x"], "unrecognized arguments: --work-dir"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(place, monkeypatch, capsys, words, says):
    import numpy as np

    np.savez(place / "images.npz", arr_0=np.zeros((4, 8, 8, 3), np.uint8))
    monkeypatch.chdir(place)
    assert main(words) == 2
    said = capsys.readouterr().err
    with pytest.raises(UserError, match=says):
        raise UserError(said)

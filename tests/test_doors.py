"""The guards against what spoils a run, on every door by which it can come in.

A door is where a user comes in, a guard what must be told there in a line: weights that are no numbers, captions that
can't be read, weights of another model, a full disk, an interruption. A door without a guard says why it needs none.
"""

import errno
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import tiny_run
import torch
from djepa_reference import Public, public_file
from image_files import encoded, random_image, write_classes
from safetensors.torch import load_file, save_file

from jepa_t.benchmark import runs
from jepa_t.benchmark.configs import configure
from jepa_t.cli import main
from jepa_t.engine.display import PreviewHook
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint
from jepa_t.pipeline import Pipeline
from jepa_t.saved import load_model

LONG = "a red three " * 20
CACHED = """
model = dict(type="JEPAT", image_tokenizer=dict(type="KLTokenizer", source={source!r}, size=(8, 8)))
train_dataloader = dict(
    num_workers=0, dataset=dict(type="ImageNet", root="set", size=8, names=["a", "b", "c"], flip=False)
)
"""
PROMPTS = f"""
_base_ = ["small.py"]
custom_imports = dict(imports=["engine_fakes"])
test_dataloader = dict(dataset=dict(_delete_=True, type="ClassPrompts", names=[{LONG!r}], count=2))
test_evaluator = dict(_delete_=True, type="TinyMetric")
"""
OWN = """
_base_ = ["small.py"]
train_dataloader = dict(
    dataset=dict(_delete_=True, type="CaptionedImages", source="own", size=8, max_broken=0.0, report="broken")
)
test_dataloader = test_cfg = test_evaluator = None
"""


def damaged(change):
    """The checkpoint with other weights."""
    found = load_checkpoint(str(tiny_run.checkpoint()))
    return found | {"state_dict": change(dict(found["state_dict"]))}


def with_nan(state):
    return {name: value * float("nan") if name.endswith("registers") else value for name, value in state.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What all doors need, in one folder."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.py").write_text(tiny_run.CONFIG + "test_dataloader['dataset'].update(per_split=2)\n")
    (folder / "long.py").write_text(
        f'_base_ = ["small.py"]\ncustom_hooks = [dict(type="PreviewHook", interval=7, captions=[{LONG!r}])]\n'
    )
    (folder / "short.py").write_text('_base_ = ["small.py"]\nmodel = dict(text_tokenizer=dict(length=2))\n')
    (folder / "wide.py").write_text('_base_ = ["small.py"]\nmodel = dict(width=32)\n')
    (folder / "own.py").write_text(OWN)
    (folder / "own").mkdir()
    for number in range(12):
        (folder / "own" / f"{number}.png").write_bytes(encoded(random_image(seed=number)))
        (folder / "own" / f"{number}.txt").write_text(LONG if number else "a red three")
    (folder / "prompts.py").write_text(PROMPTS)
    (folder / "cached.py").write_text(CACHED.format(source=tiny.pretrained_kl()["source"]))
    write_classes(folder / "set", (3, 3, 3))
    for name, factor in (("kl_nan", float("nan")), ("kl_other", 2.0)):
        shutil.copytree(tiny.pretrained_kl()["source"], folder / name)
        weights = folder / name / "diffusion_pytorch_model.safetensors"
        save_file({part: value * factor for part, value in load_file(weights).items()}, weights)
    shutil.copy(tiny_run.checkpoint(), folder / "sound.pth")
    torch.save(damaged(with_nan), folder / "nan.pth")
    torch.save({"state_dict": {"network.a": torch.ones(1)}, "meta": {}}, folder / "other.pth")
    torch.manual_seed(0)
    public_file(folder / "theirs.pth", Public())
    theirs = torch.load(folder / "theirs.pth", weights_only=True)
    theirs["model"]["z_proj.weight"] *= float("nan")
    torch.save(theirs, folder / "theirs_nan.pth")
    (folder / "card.md").write_text("$figures")
    (folder / "metrics.json").write_text(json.dumps({"seen/all": 0.5}))
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """An empty folder with all of it."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The doors: each is opened with a checkpoint, a caption and a config


def train(checkpoint="sound.pth", config="small.py", **_):
    return main(["train", config, "--work-dir", "work", "--cfg-options", f"load_from={checkpoint}"])


def judging(checkpoint="sound.pth", config="small.py", **_):
    return main(["test", config, checkpoint, "--work-dir", "work"])


def sample(checkpoint="sound.pth", caption="a red three", config=None, **_):
    return main(["sample", checkpoint, caption, *(["--config", config] if config else []), "--out", "out"])


def pipeline(checkpoint="sound.pth", caption="a red three", config=None, save=False, **_):
    def call():
        changed = tiny_run.small_config().model.to_dict() | {"width": 32} if config else None
        drawing = Pipeline.from_pretrained(checkpoint, changed, "cpu")
        drawing.save_pretrained("saved") if save else drawing(caption, [0])

    return told(call)


def preview(checkpoint="sound.pth", caption="a red three", full=False, **_):
    """Draws in the middle of a training, which it must not end: it says why there is no image."""

    def add_image(*_args, **_options):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    lines, model = [], load_model("sound.pth")[0]
    model.load_state_dict(load_checkpoint(checkpoint)["state_dict"])
    log = SimpleNamespace(warning=lines.append, info=lambda *_: None)
    runner = SimpleNamespace(model=model, logger=log, visualizer=SimpleNamespace(add_image=add_image))
    PreviewHook([caption], 1).after_train_iter(runner, 0)
    sys.stderr.writelines(f"error: {line}\n" for line in lines)
    return 2 if lines else 0


def benchmark(checkpoint=None, config="small.py", **_):
    """A run of it, whose training goes on from what lies in its folder."""
    if checkpoint:
        Path("run").mkdir()
        shutil.copy(checkpoint, "run/iter_1.pth")
        Path("run/last_checkpoint").write_text("iter_1.pth")

    def call():
        cfg = configure(config, prompts=8, steps=2, validation=("seen",))
        runs.execute(cfg, Path("run"))

    return told(call)


def cache_latents(source=None, **_):
    options = ["--cfg-options", f"model.image_tokenizer.source={source}"] if source else []
    return main(["cache-latents", "cached.py", "--out", "cache", *options])


def convert(checkpoint="theirs.pth", **_):
    return main(["convert", "djepa", checkpoint, "ours.pth", "--backbone"])


def publish(checkpoint="sound.pth", **_):
    return main(["publish", checkpoint, "published", "--card", "card.md", "--metrics", "metrics.json"])


def told(call):
    """The exit code of a call in Python, were it a command."""
    try:
        call()
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{stop}\n")
        return 130
    return 0


DOORS = [train, judging, sample, preview, benchmark, pipeline, cache_latents, convert, publish]


# The guards: with what each door is opened, and what must be said; or why nothing need be

READS_NONE = "reads no captions"
NAN = {
    train: ({"checkpoint": "nan.pth"}, "holds NaN in"),
    judging: ({"checkpoint": "nan.pth"}, "holds NaN in"),
    sample: ({"checkpoint": "nan.pth"}, "holds NaN in"),
    preview: ({"checkpoint": "nan.pth"}, "preview after step 1 is left out: .*NaN"),
    benchmark: ({"checkpoint": "nan.pth"}, "holds NaN in"),
    pipeline: ({"checkpoint": "nan.pth"}, "holds NaN in"),
    cache_latents: ({"source": "kl_nan"}, "too large for fp16, or no numbers"),
    convert: ({"checkpoint": "theirs_nan.pth"}, "holds NaN in"),
    publish: ({"checkpoint": "nan.pth"}, "holds NaN in"),
}
UNREADABLE = {
    train: ({"config": "long.py"}, "PreviewHook captions: .* tokens and the model reads"),
    judging: ({"config": "prompts.py"}, "tokens and the model reads"),
    sample: ({"caption": LONG}, "tokens and the model reads"),
    preview: ({"caption": LONG}, "preview after step 1 is left out: .* tokens and the model reads"),
    benchmark: ({"config": "short.py"}, "tokens and the model reads 2"),
    pipeline: ({"caption": LONG}, "tokens and the model reads"),
    cache_latents: "keeps captions as they are; a training reads them",
    convert: READS_NONE,
    publish: READS_NONE,
}
FOREIGN = {
    train: ({"checkpoint": "other.pth"}, "belongs to another config"),
    judging: ({"checkpoint": "other.pth"}, "belongs to another config"),
    sample: ({"config": "wide.py"}, "belongs to another config"),
    preview: "draws with the weights that are being trained",
    benchmark: ({"checkpoint": "other.pth"}, "belongs to another config"),
    pipeline: ({"config": "wide.py"}, "belongs to another config"),
    cache_latents: ({"source": "kl_other"}, "holds a cache of something else: tokenizer is"),
    convert: ({"checkpoint": "other.pth"}, "weights aren't tensors by name"),
    publish: ({"checkpoint": "other.pth"}, "holds no config"),
}
FULL = {
    train: ({}, r"No space left on device: .*iter_3\.pth'; make room. Last checkpoint: none yet"),
    judging: ({}, r"No space left on device: .*metrics\.json"),
    sample: ({}, r"No space left on device: .*images/000_a_red_three_seed0\.png"),
    preview: ({"full": True}, "preview after step 1 is left out: .*No space left on device"),
    benchmark: ({}, r"No space left on device: .*iter_1\.pth"),
    pipeline: ({"save": True}, r"No space left on device: .*model\.safetensors"),
    cache_latents: ({}, r"No space left on device: .*cache\.json"),
    convert: ({}, r"No space left on device: .*ours\.pth"),
    publish: ({}, r"No space left on device: .*model\.safetensors"),
}
STOPPED = {
    train: ({}, r"stopped after step 3; saved .*iter_3\.pth\n.*go on with: .* --resume"),
    judging: ({}, "stopped"),
    sample: ({}, "stopped"),
    preview: "leaves signals to the training, which saves and stops after the step",
    benchmark: ({}, r"stopped after step 1; saved .*iter_1\.pth"),
    pipeline: ({"save": True}, ""),
    cache_latents: ({}, "stopped"),
    convert: ({}, "stopped"),
    publish: ({}, "stopped"),
}
GUARDS = {"NaN": NAN, "unreadable caption": UNREADABLE, "another model": FOREIGN, "full disk": FULL, "stopped": STOPPED}
CELLS = [
    (guard, door) for guard, of_doors in GUARDS.items() for door in of_doors if not isinstance(of_doors[door], str)
]


def test_every_door_has_every_guard_or_says_why_not():
    for guard, of_doors in GUARDS.items():
        assert list(of_doors) == DOORS, guard
    assert len(CELLS) == 40


@pytest.mark.parametrize(("guard", "door"), CELLS, ids=[f"{guard}-{door.__name__}" for guard, door in CELLS])
def test_a_guard_stands_on_its_door(guard, door, place, monkeypatch, capsys):
    options, says = GUARDS[guard][door]
    if door is cache_latents and guard == "another model":
        assert cache_latents() == 0
    if guard in ("full disk", "stopped"):
        monkeypatch.setattr(os, "fsync", full if guard == "full disk" else stopped([True]))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        code = door(**options)
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err
    assert code == (130 if guard == "stopped" else 2), said
    assert re.search(says, said, re.DOTALL), said
    assert [line[:7] for line in said.splitlines() if line.startswith("error: ")] == ["error: "] * (code == 2)
    assert not [*place.rglob("*.tmp")]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_door_opens_where_nothing_is_wrong(door, place):
    assert door() == 0


@pytest.mark.parametrize("door", [train, judging, sample], ids=lambda door: door.__name__)
def test_weights_that_fit_and_were_trained_otherwise_are_told(door, place, capsys, caplog):
    """Velocities read as clean tokens draw nothing right, though every shape agrees; a sampler may be another."""
    other = 'model = dict(objectives=dict(flow=dict(predicts="clean")), sampler=dict(_delete_=True, preset="fast"))\n'
    Path("clean.py").write_text('_base_ = ["small.py"]\n' + other)
    assert door(config="small.py") == 0
    assert "trained otherwise" not in "".join(capsys.readouterr())
    shutil.rmtree("work", ignore_errors=True)
    assert door(config="clean.py") == 0
    said = "".join(capsys.readouterr()) + caplog.text
    assert re.findall("trained otherwise: (.*)", said) == ["model.objectives.flow.predicts is 'clean' and was not set"]


def full(_number):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stopped(once):
    return lambda _number: once and once.pop() and os.kill(os.getpid(), signal.SIGINT)


def test_too_many_unreadable_captions_end_a_training_by_name(place, capsys):
    assert train(config="own.py") == 2
    assert "tokens and the model reads" in capsys.readouterr().err

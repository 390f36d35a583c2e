"""Commands that are killed at random moments and started again, until they are done: nothing may be lost."""

import json
import multiprocessing
import shutil
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import children
import engine_fakes
import tiny
import tiny_run
from image_files import write_classes
from rows import Row

from jepa_t import benchmark
from jepa_t.benchmark import pool
from jepa_t.cli import main
from jepa_t.files import checkpoints, load_checkpoint

TIMED = {"train_seconds", "test_seconds", "date"}  # of a benchmark's results: what differs from run to run
INTERRUPTED = 130  # the code of a command that a signal has ended, in order
FAKES = 'custom_imports = dict(imports=["engine_fakes"])\n'
DRAWN = "test_cfg = dict(type='GenerationLoop')\ntest_evaluator = dict(_delete_=True, type='TinyMetric')\n"
CACHED = """
default_scope = "jepa_t"
threads = 1
model = dict(type="JEPAT", image_tokenizer=dict(type="KLTokenizer", source={source!r}, size=(8, 8)))
train_dataloader = dict(
    num_workers=0, dataset=dict(type="ImageNet", root="set", size=8, names=["a", "b", "c"], flip=False)
)
"""


@dataclass(frozen=True)
class Job:
    """A command that is killed.

    Attributes:
        what: Its name in the table.
        prepare: Puts what it needs into an empty folder.
        words: The words to start it with, or to go on, by what lies in the folder.
        contents: What must be the same in the end as of an unbroken run.
        touches: About how often it writes, renames and removes files.
    """

    what: str
    prepare: Callable[[Path], object]
    words: Callable[[Path], list[str]]
    contents: Callable[[Path], object]
    touches: int


def storm(job: Job, count: int, random: Random) -> Row:
    """Kill a command ``count`` times."""
    row, signals, writing, finished = Row(job.what), Counter(), 0, 0
    expected, seconds = unbroken(job)
    while row.tried < count:
        with children.scratch() as folder:
            job.prepare(folder)
            while True:
                blow = children.random_blow(random, seconds, job.touches) if row.tried < count else None
                ended = children.run(lambda: command(job.words(folder)), folder, blow)
                for fault in _faults(ended, blow):
                    row.wrong(fault)
                if ended.code == 0 or not ended.struck:
                    break
                row.tried += 1
                signals[signal.Signals(blow.number).name] += 1
                writing += blow.touch > 0
            finished += 1
            if job.contents(folder) != expected:
                row.wrong(f"run {finished} ended with other contents than an unbroken one")
            for file in folder.rglob("*.tmp"):
                row.wrong(f"left over: {file.name}")
    kinds = ", ".join(f"{number} {name}" for name, number in sorted(signals.items()))
    row.facts = f"{finished} runs; {kinds}; {writing} in a write"
    return row


def unbroken(job: Job) -> tuple[object, float]:
    """What an unbroken run leaves, and how long it takes."""
    with children.scratch() as folder:
        job.prepare(folder)
        ended = children.run(lambda: command(job.words(folder)), folder, timeout=600)
        if ended.code:
            raise RuntimeError(f"{job.what}: {ended.said}")
        return job.contents(folder), ended.seconds


def command(words: list[str]) -> int:
    """A command in this process; a benchmark's processes are forked, too."""
    pool.multiprocessing = _Forking()
    return main(words)


class _Forking:
    """The module multiprocessing whose processes are always forked."""

    def __getattr__(self, name: str) -> object:
        return getattr(multiprocessing, name)

    def get_context(self, _name: str) -> object:
        return multiprocessing.get_context("fork")


def _faults(ended: children.Ended, blow: children.Blow | None) -> list[str]:
    if ended.hung:
        return [f"hung after {blow}: {ended.line}"]
    if ended.traced:
        shown = ended.said[ended.said.index(children.TRACE) :].strip().splitlines()
        return [f"a traceback after {blow}: {' | '.join(line.strip() for line in shown[-12:])}"]
    if ended.code and not ended.struck:
        return [f"code {ended.code}, and nothing had come: {' | '.join(ended.said.strip().splitlines()[-4:])}"]
    if ended.struck and ended.code not in (0, -blow.number, 128 + blow.number, INTERRUPTED):
        return [f"code {ended.code} after {blow}: {ended.line}"]
    return []


# Trainings


def training(name: str, what: str, text: str) -> Job:
    """A training in the folder ``work``."""

    def words(folder: Path) -> list[str]:
        there = checkpoints(folder / "work")
        return ["train", f"{name}.py", "--work-dir", "work", *(["--resume"] if there else [])]

    def contents(folder: Path) -> object:
        newest = checkpoints(folder / "work")[-1]
        found = load_checkpoint(str(newest))
        weights = {part: engine_fakes.plain(found.get(part)) for part in ("state_dict", "optimizer")}
        return newest.name, weights, (folder / "work" / "last_checkpoint").read_text()

    return Job(what, lambda folder: (folder / f"{name}.py").write_text(text), words, contents, 60)


def trainings() -> list[Job]:
    """The engine around a fake model, and a small JEPA-T."""
    cfg = engine_fakes.tiny_config("work", 24)
    cfg.pop("work_dir")
    cfg.default_hooks.checkpoint.interval = 2
    fakes = training("fake", "training of a fake model", cfg.pretty_text + "\n" + FAKES)
    return [fakes, training("small", "training of a small JEPA-T", tiny_run.CONFIG)]


# Images, latents, suites


def caching() -> Job:
    """``cache-latents`` of 60 images in shards of two."""
    source = tiny.pretrained_kl()["source"]

    def prepare(folder: Path) -> None:
        write_classes(folder / "set", (20, 20, 20))
        (folder / "cached.py").write_text(CACHED.format(source=source))

    words = ["cache-latents", "cached.py", "--out", "cache", "--batch-size", "4", "--shard", "2"]
    return Job("`cache-latents`", prepare, lambda _: words, lambda folder: files(folder / "cache"), 110)


def drawing() -> Job:
    """The images of ``test``."""

    def prepare(folder: Path) -> None:
        (folder / "small.py").write_text(tiny_run.CONFIG + DRAWN + FAKES)
        (folder / "work").mkdir()
        shutil.copy(tiny_run.checkpoint(), folder / "work" / "iter_1.pth")

    def contents(folder: Path) -> object:
        figures = json.loads((folder / "work" / "metrics.json").read_text())
        return files(folder / "work" / "generated"), figures["count"]

    return Job("images of `test`", prepare, lambda _: ["test", "small.py", "--work-dir", "work"], contents, 70)


def benchmarking() -> Job:
    """A suite of two configs of one's own, in two processes."""

    def prepare(folder: Path) -> None:
        (folder / "small.py").write_text(tiny_run.CONFIG)
        (folder / "none.py").write_text('_base_ = ["small.py"]\nmodel = dict(fusion="none")\n')

    words = ["benchmark", "fusion", "--configs", "small.py", "none.py", "--preset", "smoke", "--no-match"]
    words += ["--jobs", "2", "--out", "bench"]

    def contents(folder: Path) -> object:
        results = json.loads((folder / "bench" / "results.json").read_text())
        return _untimed(results), {path.parent.name for path in folder.rglob("record.json")}

    return Job("a benchmark suite", prepare, lambda _: words, contents, 60)


def _untimed(node: object) -> object:
    if isinstance(node, dict):
        return {key: _untimed(value) for key, value in node.items() if key not in TIMED}
    return [_untimed(value) for value in node] if isinstance(node, list) else node


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# One work dir


def together(count: int, random: Random) -> Row:
    """Two trainings begin in one work dir at about the same time: one is refused in a line."""
    row, job = Row("two trainings in one work dir"), trainings()[0]
    expected, seconds = unbroken(job)
    for _ in range(count):
        with children.scratch() as folder:
            job.prepare(folder)
            words, row.tried = job.words(folder), row.tried + 1
            first = children.Child(lambda: command(words), folder)  # noqa: B023
            time.sleep(random.uniform(0, 0.5 * seconds))
            second = children.run(lambda: command(words), folder)  # noqa: B023
            ended = sorted([first.end(), second], key=lambda one: one.code)
            if [one.code for one in ended] != [0, 2] or len(ended[1].said.splitlines()) != 1:
                row.wrong(f"codes {[one.code for one in ended]}: {ended[1].said.strip()}")
            elif job.contents(folder) != expected:
                row.wrong("the other training was disturbed")
    return row


def damaged(count: int, random: Random) -> Row:
    """The newest checkpoint is cut, or ``last_checkpoint`` is rubbish: a resume takes the last whole one."""
    row, job = Row("damaged last checkpoint"), trainings()[0]
    expected, _ = unbroken(job)
    for number in range(count):
        with children.scratch() as folder:
            job.prepare(folder)
            words = [*job.words(folder), "--cfg-options", "train_cfg.max_iters=12"]
            children.run(lambda: command(words), folder)  # noqa: B023
            said = _damage(folder / "work", number % 5, random)
            ended = children.run(lambda: command(job.words(folder)), folder)
            row.tried += 1
            if ended.code or ended.traced or said not in ended.said:
                row.wrong(f"damage {number % 5}, code {ended.code}: {ended.line}")
            elif job.contents(folder) != expected:
                row.wrong(f"damage {number % 5}: ended with other weights")
    return row


def _sound(path: Path) -> bool:
    """Whether an archive's own checksums find nothing."""
    try:
        return zipfile.ZipFile(path).testzip() is None
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError):
        return False


def _damage(work: Path, kind: int, random: Random) -> str:
    """Damage a work dir; what must be said of it."""
    newest, pointer = checkpoints(work)[-1], work / "last_checkpoint"
    data = bytearray(newest.read_bytes())
    if kind == 0:
        newest.write_bytes(data[: random.randrange(len(data))])
    elif kind == 1:
        data[random.randrange(len(data) // 4, 3 * len(data) // 4)] ^= 1 << random.randrange(8)
        newest.write_bytes(data)
        if _sound(newest):  # the flip lies between the parts, and must change nothing
            return ""
    elif kind == 2:
        newest.unlink()
    elif kind == 3:
        pointer.write_bytes(random.randbytes(20))
    else:
        pointer.write_text("../../elsewhere/iter_9.pth")
    return "is damaged" if kind < 2 else "isn't there"


assert benchmark  # its modules are imported before anything is forked

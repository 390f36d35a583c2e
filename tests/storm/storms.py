"""All storms, one after the other, and their table."""

import argparse
import contextlib
import gc
import io
import random
import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import children
import hostile
import kills
import load
import mmengine.config.config
import mmengine.hooks.runtime_info_hook
import mmengine.runner.runner
import tiny_run
import torch
import values
from rows import Row, table

from jepa_t import cli
from jepa_t.engine import apply

Storm = Callable[[int, random.Random], Row]
COUNTS = {  # of each storm, how often by default
    "training": 160,
    "jepa_t": 40,
    "cache": 50,
    "test": 50,
    "benchmark": 50,
    "together": 20,
    "damaged": 50,
    "values": 2000,
    "hostile": 1000,
    "threads": 240,
    "loop": 2000,
    "captions": 10_000,
}


def storms() -> dict[str, Storm]:
    """Every storm by its name."""
    fakes, small = kills.trainings()
    return {
        "training": partial(kills.storm, fakes),
        "jepa_t": partial(kills.storm, small),
        "cache": partial(kills.storm, kills.caching()),
        "test": partial(kills.storm, kills.drawing()),
        "benchmark": partial(kills.storm, kills.benchmarking()),
        "together": kills.together,
        "damaged": kills.damaged,
        "values": values.storm,
        "hostile": hostile.storm,
        "threads": load.threads,
        "loop": load.loop,
        "captions": load.captions,
    }


def prepare(put: Callable[[object, str, object], None] = setattr) -> None:
    """Make this process one that many are forked from: a single thread, and no time for what isn't tried here."""
    apply()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    put(mmengine.config.config, "FormatCode", lambda text, **_: (text, False))  # the layout of configs' texts
    put(mmengine.runner.runner, "collect_env", dict)  # starts compilers, to ask for their versions
    for module in (mmengine.runner.runner, mmengine.hooks.runtime_info_hook):
        put(module, "get_git_hash", str)  # starts git, with each run and each checkpoint
    with children.scratch() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        (folder / "small.py").write_text(tiny_run.CONFIG)
        options = ["--cfg-options", "train_cfg.max_iters=2", "test_dataloader.dataset.per_split=2"]
        for command in ("train", "test"):  # what one run imports, no child need import again
            if cli.main([command, "small.py", "--work-dir", "work", *options]):
                raise RuntimeError("the small training can't be run")
    gc.freeze()


def main() -> int:
    """Run the storms that are asked for, print each row as it is there, and write the table."""
    parser = argparse.ArgumentParser(prog="python tests/storm", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(COUNTS), help=f"of {', '.join(COUNTS)}; default all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/storm.md"), help="file of the table")
    args = parser.parse_args()
    prepare()
    known, rows = storms(), []
    print(f"seed {args.seed}", flush=True)
    for name in args.names:
        count, before, start = max(round(COUNTS[name] * args.scale), 1), spent(), time.perf_counter()
        row = known[name](count, random.Random(f"{args.seed} {name}"))
        row.seconds, took = spent() - before, time.perf_counter() - start
        rows.append(row)
        times = f"{row.seconds:.0f} s of processor, {took:.0f} s"
        print(f"{row.what}: {row.tried:,} tried, {len(row.faults)} wrong; {row.facts}; {times}", flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(f"{table(rows)}\n")
    print(f"\n{table(rows)}\nwritten to {args.out}")
    return 1 if any(row.faults for row in rows) else 0


def spent() -> float:
    """Seconds of the processor, those of children that have ended among them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


assert sys.platform != "win32", "processes are forked"

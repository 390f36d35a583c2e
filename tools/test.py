"""Evaluate a checkpoint: python tools/test.py configs/jepat_digits.py"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from rich.console import Console
from rich.table import Table

from jepa_t.engine import JEPATRunner, set_threads
from jepa_t.engine.cli import add_run_arguments, friendly, run_config
from jepa_t.engine.compat import told_of_loss
from jepa_t.engine.runner import unwrap
from jepa_t.errors import UserError
from jepa_t.evaluation.generation import settings
from jepa_t.files import find_checkpoint, installed, write_atomically
from jepa_t.sampling import sampler_config


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Parse, build, evaluate, write metrics.json."""
    parser = argparse.ArgumentParser(description="Generate for a config's prompts and measure the images.")
    add_run_arguments(parser)
    parser.add_argument("checkpoint", nargs="?", help="default: the newest of the work dir")
    parser.add_argument("--preset", help="sampler preset: reference, quality, balanced or fast")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast")
    args = parser.parse_args(arguments)
    cfg = run_config(args)
    if cfg.get("test_evaluator") is None:
        raise UserError(f"{args.config} has no test_evaluator; evaluate one of the configs that do")
    set_threads(cfg.get("threads", "auto"))
    cfg.resume, cfg.load_from = False, find_checkpoint(args.checkpoint or cfg.work_dir)
    runner = JEPATRunner.from_cfg(cfg)
    if args.preset:
        model, options = unwrap(runner.model), cfg.model.get("sampler", "balanced")
        if not hasattr(model, "sample_with"):
            raise UserError(f"--preset is of a sampler, and {type(model).__name__} draws nothing")
        runner.cfg.model.sampler = {"preset": args.preset} | sampler_config(options, args.preset, model.network.draw)
        model.sample_with(runner.cfg.model.sampler)
    device = get_device().split(":")[0]
    with torch.autocast(device, torch.bfloat16, enabled=args.amp):
        started = time.perf_counter()
        with told_of_loss("the same command goes on, or begins again"):
            figures = runner.test()
        figures["test_seconds"] = time.perf_counter() - started
        facts = protocol(runner, cfg.load_from)
    if is_main_process():
        report = figures | facts
        target = Path(runner.work_dir) / "metrics.json"
        write_atomically(target, lambda file: file.write(json.dumps(report, indent=2).encode()))
        show(figures, str(target))


def protocol(runner: JEPATRunner, checkpoint: str) -> dict:
    """What must be known to get the same figures again."""
    meta = runner.checkpoint_meta
    facts = settings(runner) | {
        "checkpoint": Path(checkpoint).name,
        "config": Path(runner.cfg.filename).name,
        "count": len(runner.test_dataloader.dataset),
        "versions": {name: installed(name) for name in ("torch", "mmengine", "jepa_t")},
    }
    for metric in runner.test_loop.evaluator.metrics:
        facts |= getattr(metric, "facts", {})
    cost = {name: meta.get(name) for name in ("train_seconds", "train_steps")}
    return cost | {f"protocol/{name}": value for name, value in facts.items()}


def show(figures: dict, target: str) -> None:
    """Print a table of the figures."""
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console().print(table, f"written to {target}")


if __name__ == "__main__":
    sys.exit(main())

"""Draw for a config's prompts and measure the images; metrics.json has the figures and how they were made."""

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process

from ..engine import JEPATRunner, set_threads
from ..engine.compat import explain_lost_process, leave_process_group
from ..engine.work_dir import METRICS
from ..errors import UserError
from ..evaluation.generation import settings
from ..evaluation.metric import Metric
from ..files import find_checkpoint, installed
from ..model import JEPAT
from ..sampling import sampler_config, sampler_for
from ..trainable import unwrap
from .shared import add_run_arguments, run_config, show_figures, write_json


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``test`` takes."""
    add_run_arguments(parser)
    parser.add_argument("checkpoint", nargs="?", help="default: the newest of the work dir")
    parser.add_argument("--preset", help="sampler preset: reference, quality, balanced, fast, few or one")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast")


def run(args: Namespace) -> None:
    """Build what the config says, draw its prompts, and measure the images."""
    cfg = run_config(args)
    if cfg.get("test_evaluator") is None:
        raise UserError(f"{args.config} has no test_evaluator; evaluate one of the configs that do")
    set_threads(cfg.get("threads", "auto"))
    cfg.resume, cfg.load_from = False, find_checkpoint(args.checkpoint or cfg.work_dir)
    runner = JEPATRunner.from_cfg(cfg)
    if args.preset is not None:
        model, options = unwrap(runner.model), cfg.model.get("sampler", "balanced")
        if not isinstance(model, JEPAT):
            raise UserError(f"--preset is of a sampler, and {type(model).__name__} draws nothing")
        objective = model.network.generative
        runner.cfg.model.sampler = {"preset": args.preset} | sampler_config(options, args.preset, objective)
        model.sampler = sampler_for(objective, runner.cfg.model.sampler)
    device = get_device().split(":")[0]
    with torch.autocast(device, torch.bfloat16, enabled=args.amp):
        started = time.perf_counter()
        with explain_lost_process("the same command goes on, or begins again"):
            figures = runner.test()
        figures["test_seconds"] = time.perf_counter() - started
        facts = protocol(runner, cfg.load_from)
    if is_main_process():
        target = Path(runner.work_dir) / METRICS
        write_json(target, figures | facts)
        show_figures(figures)
        print(f"written to {target}")
    del runner
    leave_process_group()


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
        facts |= metric.facts if isinstance(metric, Metric) else {}
    cost = {name: meta.get(name) for name in ("train_seconds", "train_steps")}
    return cost | {f"protocol/{name}": value for name, value in facts.items()}

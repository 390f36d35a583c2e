"""Where the time of a training step goes, by station and by operator."""

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.autograd import DeviceType

from ..contracts import Fitted
from ..ema import update_ema
from ..engine import set_threads
from ..engine.hooks import HoldTokensHook
from ..errors import UserError, check_integer
from ..layers import Block
from ..model import JEPAT
from ..registry import DATASETS, HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, build, resolve
from .shared import add_config_arguments, run_config


def now() -> float:
    """Seconds, once a GPU has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock:
    """Milliseconds by name, one entry per step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def around(self, name: str, call: Callable, *args: object) -> object:
        """Call a function, and count its time under ``name``."""
        start = now()
        result = call(*args)
        self.add(name, start)
        return result

    def add(self, name: str, start: float) -> None:
        """Count the time since ``start`` under ``name``."""
        self.steps[-1][name] += 1e3 * (now() - start)

    def watch(self, module: nn.Module, name: str) -> None:
        """Count every forward and backward pass of a module."""
        started: list[float] = []
        module.register_forward_pre_hook(lambda *_: started.append(now()))
        module.register_forward_hook(lambda *_: self.add(f"{name}, forward", started.pop()))
        if any(p.requires_grad for p in module.parameters()):
            module.register_full_backward_pre_hook(lambda *_: started.append(now()))
            module.register_full_backward_hook(lambda *_: self.add(f"{name}, backward", started.pop()))


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``profile`` takes."""
    add_config_arguments(parser)
    parser.add_argument("--batch-size", type=int, help="images of a step; default the config's batch_size, or 64")
    parser.add_argument("--steps", type=int, default=20, help="steps counted, after 5 to warm up")


def run(args: Namespace) -> None:
    """Build the training, run some steps, and print the share of each station."""
    cfg = run_config(args)
    threads = set_threads(cfg.get("threads", "auto"))
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = build(cfg.train_dataloader.dataset.to_dict(), DATASETS)
    model = build(cfg.model.to_dict(), MODELS).to(device)
    if not isinstance(model, JEPAT):
        raise UserError(
            f"{args.config} trains a {type(model).__name__}, whose steps aren't told apart; profile a JEPAT"
        )
    learns = isinstance(model.image_tokenizer, Fitted) and not model.image_tokenizer.fitted
    model.fit(dataset.images if learns else None, dataset.captions)
    for hook in (*cfg.get("default_hooks", {}).values(), *cfg.get("custom_hooks", [])):
        if hook and resolve(hook["type"], HOOKS) is HoldTokensHook:
            with torch.no_grad():
                build(dict(hook), HOOKS).hold(dataset, model)  # as training does
    options = cfg.optim_wrapper.to_dict()
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(options.pop("constructor"))
    wrapper = constructor(options, options.pop("paramwise_cfg", None))(model)
    size = cfg.train_dataloader.get("batch_size", 64) if args.batch_size is None else args.batch_size
    for name, value, least, most in (("--batch-size", size, 1, 2**20), ("--steps", args.steps, 2, 10**6)):
        if check_integer(name, value, least) > most:
            raise UserError(f"{name} is {value}; it must be at most {most}")
    batches = [torch.randint(len(dataset), (size,)).tolist() for _ in range(5 + args.steps)]

    def step(clock: Clock, indices: list[int]) -> None:
        clock.steps.append(defaultdict(float))
        start = now()
        batch = clock.around("data", dataset.__getitems__, indices)
        model.train_step(batch, wrapper)
        clock.around("averaging", update_ema, model.network, model.ema, 0.99)
        clock.add("step", start)

    plain = Clock()
    for indices in batches[: 5 + args.steps]:
        step(plain, indices)
    with torch.profiler.profile() as operators:
        for indices in batches[:5]:
            step(Clock(), indices)
    watched = Clock()
    network = model.network
    for name, module in {
        "context encoder": network.encoder,
        "predictor": network.predictor,
        "target encoder": model.ema.encoder,
        **{f"fusion at {site}": module for site, module in network.fusion.items() if site != "blocks"},
    }.items():
        watched.watch(module, name)
    # Hooks of the backward pass need modules that return tensors: the parts of these two do.
    for block in network.text_tokenizer.modules():  # a frozen one has none
        if isinstance(block, Block):
            watched.watch(block, "text tokenizer")
    for key, objective in network.objectives.items():
        for part in objective.children():
            watched.watch(part, f"objective {key}")
    optimizer_step = wrapper.optimizer.step
    wrapper.optimizer.step = lambda *_: watched.around("optimizer", optimizer_step)
    for indices in batches[: args.steps]:
        step(watched, indices)
    report(plain, watched, operators, size, threads, device)


def report(
    plain: Clock, watched: Clock, operators: torch.profiler.profile, size: int, threads: int, device: str
) -> None:
    """Print the time of a step and both tables."""
    console = Console()
    whole = [one["step"] for one in plain.steps[5:]]
    where = f"{device}, {threads} thread(s)"
    if device == "cuda":
        where = f"{torch.cuda.get_device_name()}, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    console.print(
        f"a step of {size} images takes {statistics.median(whole):.1f} ms (quartiles "
        f"{statistics.quantiles(whole)[0]:.1f} to {statistics.quantiles(whole)[2]:.1f}), "
        f"{1000 * size / statistics.median(whole):.0f} images a second, on {where}",
        soft_wrap=True,
    )
    stations = Table("station", "share of the step")
    total = statistics.median(one["step"] for one in watched.steps)
    shares = {name: statistics.median(one[name] for one in watched.steps) / total for name in watched.steps[-1]}
    shares.pop("step")
    shares["everything else"] = 1 - sum(shares.values())
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        stations.add_row(name, f"{100 * share:.1f} %")
    console.print(stations)
    rows = Table("operator", "share of the step")
    events = [event for event in operators.key_averages() if event.device_type == DeviceType.CPU]  # no bare kernels
    spent = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    taken = {event.key: getattr(event, spent) for event in events}
    for key, time_taken in sorted(taken.items(), key=lambda item: -item[1])[:12]:
        rows.add_row(key, f"{100 * time_taken / sum(taken.values()):.1f} %")
    console.print(rows)

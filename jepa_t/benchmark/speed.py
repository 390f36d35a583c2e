"""The speed suite: ratios of times taken in turn in one process, never seconds against seconds of another run."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..acceleration import cast_once, compile_blocks
from ..attention import attention
from ..denoiser import Denoiser
from ..ema import update_ema
from ..errors import UserError
from ..layers import Blocks
from ..model import JEPAT
from ..registry import DATASETS, MODELS, build
from ..sampling import PRESETS, Generators, sampler_for
from . import published
from .configs import configure
from .cost import Cost, Priced, on_meta, training
from .published import ITEMS
from .records import Timing
from .runs import machine, versions
from .suites import FUSIONS
from .tasks import CONFIGS, TASKS
from .timing import LEAST, Arms, Timed, cast, device, dtype, peak, time_arms

MINUTES = 15.0  # that a task may take
STEPS, SOLVER_STEPS, SCALE = 64, 99, 3.0  # of sampling as published
REACHED = 0.4  # share of the peak that is expected when a batch is chosen
# Batch, heads, tokens, channels per head: the digits' predictor, scenes, and an image of 256 tokens or more.
ATTENTION = [(128, 4, 20, 24), (64, 4, 68, 48), (16, 8, 256, 32), (4, 8, 512, 64)]
PASSES = 10  # of attention that are timed together
LEARNING_RATE, DECAY = 1e-4, 0.999
# What draws in few evaluations beside the presets: what its objective is trained with, and its sampler.
LEARNED, MEAN = {"learns_guidance": True}, {"type": "MeanFlow", "predicts": "clean"}
FEW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "few, guidance learned in": (LEARNED, {"preset": "few"}),
    "few, two paces, 6 steps, guidance learned in": (LEARNED, {"preset": "few", "steps": 6, "schedule": "paced"}),
    "one, mean flow, guidance learned in": (MEAN | LEARNED, {"preset": "one"}),
}
TRAINED = {"guidance learned in": LEARNED, "mean flow": MEAN, "mean flow, guidance learned in": MEAN | LEARNED}
OWN = "as configured"  # an arm: the sampler of the config
DRAWN = tuple(name for name in PRESETS if name != "one")  # which is mean flow's
# The published procedure, and what the library leaves out of it, one item after the other.
PLAIN = {"published": (), **{f"+ {item.replace('_', ' ')}": ITEMS[: n + 1] for n, item in enumerate(ITEMS)}}
SAMPLINGS = (*PLAIN, *DRAWN, OWN, f"{OWN}, guidance learned in", *FEW)


def speed_tasks(
    names: Sequence[str], seconds: float, arms: Sequence[str] | None = None
) -> dict[str, Callable[[], Arms]]:
    """What is timed, by title, made when it is its turn; the first arm is what the others are compared with.

    Args:
        names: Some of :data:`NAMES`.
        seconds: What a task may take.
        arms: Which of :data:`SAMPLINGS` beside the first, and nothing but sampling; by default all.
    """
    tasks: dict[str, Callable[[], Arms]] = {}
    for name in names:
        if name in SIZES:
            some = "" if arms is None else ", some arms"  # which don't take the place of all
            tasks[f"{name}, sampling, batch 1{some}"] = partial(_samplings, name, 1, seconds, arms)
            tasks[f"{name}, sampling, large batch{some}"] = partial(_samplings, name, None, seconds, arms)
        if arms is not None:
            continue
        if name in SIZES:
            tasks[f"{name}, training step"] = partial(_steps, SIZES[name])
        elif name == "fusions":
            tasks["training step"] = _fusions
        else:
            for shape in ATTENTION:
                title = f"attention, {' x '.join(map(str, shape))}, {PASSES} passes"
                tasks[title] = partial(_attentions, *shape)
    return tasks


def time_task(task: str, make: Callable[[], Arms], seconds: float) -> list[Timing]:
    """Time each arm of a task.

    Args:
        task: Its title.
        make: Gives its arms.
        seconds: About what it may take. Fewer rounds, at least five, and smaller batches fit it.
    """
    torch.set_num_threads(1)
    return time_arms(task, make(), seconds, versions=versions(), machine=machine())


def base(side: int | None = None) -> Config:
    """The paper's base size, with a text tower of CLIP's size.

    Args:
        side: Of the images, 4 pixels a token; by default 64 on a GPU, 32 on a CPU.
    """
    side = side or (64 if device() == "cuda" else 32)
    tower = {"width": 512, "depth": 12, "heads": 8, "length": 77, "vocabulary": 512}
    changes = {
        "model": {
            "width": 768,
            "image_tokenizer": {"size": (side, side), "patch": 4, "channels": 16, "whiten": False},
            "text_tokenizer": tower,
            "encoder": {"depth": 12, "heads": 12, "registers": 64},
            "predictor": {"depth": 12, "heads": 12},
            "objectives": {"flow": {"head_width": 1024, "head_depth": 6, "draws": 4}},
            "mask_ratio": {"low": 0.7, "std": 0.25, "multiple": 8},
            "sampler": {"_delete_": True, "preset": "balanced"},
        },
        "train_dataloader": {"batch_size": 64 if device() == "cuda" else 2},
    }
    return configure(CONFIGS / TASKS["digits"].config, changes)


SIZES: dict[str, Callable[[], Config]] = {
    **{task: partial(configure, CONFIGS / TASKS[task].config) for task in ("digits", "pixels", "emoji")},
    "base": base,
}
NAMES = (*SIZES, "fusions", "attention")


def random_model(cfg: Config, flow: Mapping[str, Any] | None = None) -> tuple[JEPAT, Tensor, list[str]]:
    """A model of random weights, none of them zero, with a batch of random images and of captions.

    Args:
        cfg: Its config.
        flow: Other options of its flow matching.
    """
    if flow:
        cfg = copy.deepcopy(cfg)
        cfg.model.objectives.flow.update(flow)
        cfg.model.sampler = "balanced"
    batch = cfg.train_dataloader.batch_size
    dataset = build(cfg.train_dataloader.dataset.to_dict() | {"size": 4 * max(batch, 16)}, DATASETS)
    torch.manual_seed(0)
    model = build(cfg.model.to_dict(), MODELS)
    side = model.image_tokenizer.stride * model.network.grid[0]
    images = torch.rand(4 * max(batch, 16), 3, side, side) * 2 - 1
    model.fit(images, dataset.captions)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.ema.load_state_dict(model.network.state_dict())
    if model.network.text_tokenizer.width != model.network.encoder.registers.shape[1]:
        model.network.text_tokenizer.requires_grad_(False)  # a tower of CLIP's size would come trained
    return model.to(device()), images[:batch].to(device()), dataset.captions


def _compiled(model: JEPAT) -> JEPAT:
    model = copy.deepcopy(model)
    compile_blocks(model)
    return model


def _samplings(size: str, batch: int | None, seconds: float, chosen: Sequence[str] | None = None) -> Arms:
    """The published procedure, the library's exact items one after the other, the presets, and few evaluations."""
    cfg = SIZES[size]()
    model, _, captions = random_model(cfg)
    settings = _settings(cfg)
    for name in chosen or []:
        if name not in (*PLAIN, *settings):
            raise UserError(f"the task {size!r} of the suite 'speed' has no arm {name!r}; its own sampler is a preset")
    settings = {name: of for name, of in settings.items() if chosen is None or name in chosen}
    plain = {name: of for name, of in PLAIN.items() if not of or chosen is None or name in chosen}
    models = {repr(flow): model if not flow else random_model(cfg, flow)[0] for flow, _ in settings.values()}
    drawing = {name: (models[repr(flow)].eval(), options) for name, (flow, options) in settings.items()}
    costs = _published_costs(model, captions[0], plain)
    costs |= {name: _cost(*of, captions[0]) for name, of in drawing.items()}
    batch = batch or _largest_batch(sum(costs[name].total for name in ("published", *settings)), seconds)
    if not batch:
        return {}
    captions, seeds = (captions * batch)[:batch], range(batch)
    steps = min(STEPS, math.prod(model.network.grid))
    every = _part(costs["published"].total * batch, seconds, steps)
    times = steps / len(range(every // 2, steps, every))  # what is computed makes up the whole

    def plainly(items: Sequence[str], every: int = 1) -> Tensor:
        with cast(), cast_once(model.ema, device()):  # as the library does; else autocast casts at each call
            return published.sample(model, captions, seeds, STEPS, SOLVER_STEPS, SCALE, items, every)

    def sample(model: JEPAT, options: dict) -> Tensor:
        with cast():
            return model.generate(captions, seeds, options)

    whole = "published" if every == 1 else f"published, by one in {every} of its steps"
    arms = {whole: Timed(partial(plainly, plain.pop("published"), every), costs["published"], batch, times=times)}
    arms |= {name: Timed(partial(plainly, of), costs[name], batch, optional=True) for name, of in plain.items()}
    arms |= {name: Timed(partial(sample, *of), costs[name], batch) for name, of in drawing.items()}
    if device() == "cuda":
        fast = {key: _compiled(one) for key, one in models.items()}
        arms |= {
            f"{name}, compiled": Timed(partial(sample, fast[repr(flow)], options), costs[name], batch, calls=3)
            for name, (flow, options) in settings.items()
        }
    return arms


def _settings(cfg: Config) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What is drawn with: options of the objective that it is trained with, and the sampler's."""
    settings = {name: ({}, _sampler(name)) for name in DRAWN}
    if "preset" not in (own := cfg.model.sampler.to_dict()):
        settings |= {OWN: ({}, own), f"{OWN}, guidance learned in": (LEARNED, own)}
    return settings | {name: (flow, options | {"guidance_scale": SCALE}) for name, (flow, options) in FEW.items()}


def sampling_costs(model: JEPAT, caption: str) -> dict[str, Cost]:
    """Of one image: as published, with the exact items one after the other, and by each preset."""
    return _published_costs(model, caption, PLAIN) | {name: _cost(model, _sampler(name), caption) for name in DRAWN}


def _published_costs(model: JEPAT, caption: str, plain: Mapping[str, Sequence[str]]) -> dict[str, Cost]:
    meta, costs = on_meta(model, [caption]), {}
    options = [caption], Generators([0], torch.device("meta")), STEPS, SOLVER_STEPS, SCALE
    for name, items in plain.items():
        priced = Priced(published.Published(meta.ema, meta.image_tokenizer, items=items))
        again = "text_once" not in items
        costs[name] = priced.spent(lambda it, again=again: published.sample_tokens(it, *options, again))
    return costs


def _cost(model: JEPAT, options: dict[str, Any], caption: str) -> Cost:
    meta, sampler = on_meta(model, [caption]), sampler_for(model.ema.generative, options)
    priced = Priced(Denoiser(meta.ema, meta.image_tokenizer))
    return priced.spent(lambda denoiser: sampler(denoiser, denoiser.text([caption]), [0]))


def _sampler(preset: str) -> dict[str, Any]:
    return {"preset": preset, "guidance_scale": SCALE}


def _largest_batch(operations: float, seconds: float) -> int:
    """How many images at once of so many operations each are timed within the seconds; 0 if none are."""
    spent = operations / (REACHED * peak(device(), dtype()))
    counts = (4, 16, 64) if device() == "cuda" else (4, 16)
    return max((count for count in counts if (LEAST + 1) * count * spent <= seconds), default=0)


def _part(operations: float, seconds: float, steps: int) -> int:
    """Of how many sampling steps one is timed, so that the published procedure takes about half the seconds."""
    spent = (LEAST + 1) * operations / (REACHED * peak(device(), dtype()))
    return min(math.ceil(2 * spent / seconds), max(steps // LEAST, 1))


def _steps(size: Callable[[], Config]) -> Arms:
    """A training step without its data: losses, gradients, clipping, optimizer, average."""
    model, images, captions = random_model(size())
    captions, batch = captions[: len(images)], len(images)
    plain, shipped = training(model, images, captions, published.loss), training(model, images, captions)
    optimizers = {fused: _optimizer(model, fused) for fused in (False, True)}

    def step(loss: Callable[..., dict[str, Tensor]], fused: bool, recompute: bool = False) -> Callable[[], None]:
        return _step(model, loss, images, captions, optimizers[fused], fused, recompute)

    arms = {
        "published": Timed(step(published.loss, False), plain, batch),
        "with gradient checkpointing": Timed(step(published.loss, False, True), plain, batch, optional=True),
        "asked tokens alone, text once": Timed(step(JEPAT.loss, False), shipped, batch),
        "+ fused optimizer and average": Timed(step(JEPAT.loss, True), shipped, batch),
    }
    if not any(parameter.requires_grad for parameter in model.network.text_tokenizer.parameters()):
        reading = _remembering(model)
        run = _step(reading, JEPAT.loss, images, captions, _optimizer(reading, True))
        arms["+ text remembered"] = Timed(run, replace(shipped, flops=shipped.flops | {"text": 0.0}), batch)
    for name, flow in TRAINED.items():
        other = random_model(size(), flow)[0]
        cost = training(other, images, captions)
        arms[name] = Timed(_step(other, JEPAT.loss, images, captions, _optimizer(other, True)), cost, batch)
    if device() == "cuda":
        fast = _compiled(model)
        run = _step(fast, JEPAT.loss, images, captions, _optimizer(fast, True), first=8)
        arms["+ compiled blocks"] = Timed(run, shipped, batch, calls=8)  # of other visible counts
    return arms


def _optimizer(model: JEPAT, fused: bool) -> torch.optim.Optimizer:
    learned = [parameter for parameter in model.network.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learned, lr=LEARNING_RATE, fused=fused or None)


def _step(
    model: JEPAT,
    loss: Callable[..., dict[str, Tensor]],
    images: Tensor,
    captions: list[str],
    optimizer: torch.optim.Optimizer,
    fused: bool = True,
    recompute: bool = False,
    first: int = 1,
) -> Callable[[], None]:
    learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    pairs = list(zip(model.ema.parameters(), model.network.parameters(), strict=True))
    stacks = [module for module in model.network.modules() if isinstance(module, Blocks)]

    calls = count(-first)  # the first ones aren't counted

    def step() -> None:
        torch.manual_seed(next(calls))  # all arms' nth counted steps have the same mask
        for stack in stacks:
            stack.checkpointing = recompute
        with cast():
            total = sum(loss(model, images, captions).values())
        total.backward()
        torch.nn.utils.clip_grad_norm_(learned, 3.0)
        optimizer.step()
        optimizer.zero_grad()
        if fused:
            update_ema(model.network, model.ema, DECAY)
        else:
            with torch.no_grad():
                for old, new in pairs:
                    old.mul_(DECAY).add_(new, alpha=1 - DECAY)

    return step


def _remembering(model: JEPAT) -> JEPAT:
    """A copy whose text tower says each thing once, as frozen ones do in the library."""
    model = copy.deepcopy(model)
    tower, said = model.network.text_tokenizer, {}
    for name, call in (("forward", tower.forward), ("null", tower.null)):
        setattr(tower, name, lambda x, call=call: said[str(x)] if str(x) in said else said.setdefault(str(x), call(x)))
    return model


def _fusions() -> Arms:
    """The training step of every fusion."""
    config = CONFIGS / TASKS["digits"].config
    changes = {name: arm.changes for name, arm in FUSIONS.items()}
    changes["jepa_t, no JEPA loss"] = {"model": {"objectives": {"feature": {"weight": 0.0}}}}
    arms = {}
    for name, change in changes.items():
        model, images, captions = random_model(configure(config, change))
        captions = captions[: len(images)]
        step = _step(model, JEPAT.loss, images, captions, _optimizer(model, True))
        arms[name] = Timed(step, training(model, images, captions), len(images))
    return arms


def _attentions(batch: int, heads: int, tokens: int, channels: int) -> Arms:
    """Forward and backward passes of the back ends that run here, over tokens that are all there."""
    options = {"device": device(), "dtype": dtype(), "requires_grad": True}
    inputs = [torch.randn(batch, heads, tokens, channels, **options) for _ in range(3)]

    def run(backend: str) -> None:
        for _ in range(PASSES):
            attention(*inputs, None, backend).sum().backward()

    there = ["sdpa", "math"] + ["xformers"] * (device() == "cuda" and find_spec("xformers") is not None)
    return {backend: Timed(partial(run, backend)) for backend in there}

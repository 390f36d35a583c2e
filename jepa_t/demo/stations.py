"""Where the time of a drawing goes."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from ..pipeline import Pipeline
from .actions import Models, Wanted

REST = "objective's head, and the rest"


class Clock:
    """Seconds by station, each without those of the stations inside it."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.device, self.inside = device, [REST]
        self.since = self._now()

    def turn(self, *_: object, into: str | None = None) -> None:
        """Count what has passed, then enter a station, or leave the one that was entered last."""
        now = self._now()
        self.seconds[self.inside[-1]] += now - self.since
        self.since = now
        if into is None:
            self.inside.pop()
        else:
            self.inside.append(into)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@contextmanager
def clocked(pipeline: Pipeline) -> Iterator[Clock]:
    """Count the time of each station while the model draws; nothing stays of it afterwards."""
    network = pipeline.model.ema
    clock = Clock(next(pipeline.model.parameters()).device)
    fused = list(cast(nn.ModuleList, network.fusion["blocks"])) if "blocks" in network.fusion else []
    stations: list[tuple[str, nn.Module]] = [
        ("text tokenizer", network.text_tokenizer),
        ("context encoder", network.encoder),
        ("predictor", network.predictor),
        *((f"fusion at {site}", part) for site, part in network.fusion.items() if site != "blocks"),
        *(("fusion at blocks", part) for part in fused),
        *(("image tokenizer", part) for part in pipeline.model.image_tokenizer.children()),
    ]
    hooks = []
    for name, module in stations:
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: clock.turn(into=name)))
        hooks.append(module.register_forward_hook(clock.turn))
    try:
        yield clock
    finally:
        for hook in hooks:
            hook.remove()


def shares(models: Models, wanted: Wanted) -> dict[str, dict[str, float]]:
    """Of each model the seconds that each station took to draw once more, the longest first."""
    found = {}
    for name, pipeline in models.items():
        with clocked(pipeline) as clock:
            pipeline([wanted.caption] * wanted.count, wanted.seeds, **wanted.options)
            clock.turn(into=REST)
        found[name] = dict(sorted(clock.seconds.items(), key=lambda item: -item[1]))
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """The shares as a Markdown table, a column for each model."""
    names = list(dict.fromkeys(name for times in found.values() for name in times))
    lines = ["| station |" + "".join(f" {model} |" for model in found), "|---|" + "---:|" * len(found)]
    totals = {model: sum(times.values()) for model, times in found.items()}
    for name in names:
        cells = "".join(f" {100 * found[model].get(name, 0.0) / totals[model]:.1f} % |" for model in found)
        lines.append(f"| {name} |{cells}")
    lines.append("| all |" + "".join(f" {1000 * total:.0f} ms |" for total in totals.values()))
    return "\n".join(lines)

"""The plots of a report. Each gives its file's name, or nothing where it has nothing to show."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import optional
from .records import Record, curve, curved, outcomes
from .statistics import interval

COST = "ms per picture"


def pyplot() -> Any:
    """matplotlib's ``pyplot``, drawing into files.

    Raises:
        UserError: It isn't installed.
    """
    matplotlib = optional("matplotlib", "the benchmark's report", "benchmark")
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _keep(figure: Any, folder: Path, *names: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(names).lower()) + ".png"
    figure.savefig(folder / name, dpi=120, bbox_inches="tight", metadata={"Software": None})
    pyplot().close(figure)
    return name


def dots(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Every seed a dot, the mean with its interval beside it."""
    shown = [figure for figure in figures if any(figure in record["outcomes"] for record in records)][:6]
    if not shown:
        return ""
    plot, axes = pyplot().subplots(
        1, len(shown), figsize=(2.2 * len(shown) + 1.5, 0.33 * len(arms) + 1.1), sharey=True, squeeze=False
    )
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, arm in enumerate(arms):
            found = outcomes(records, arm, figure)
            if not found:
                continue
            value = interval(list(found.values()))
            axis.plot([value.low, value.high], [row, row], color=f"C{row % 10}", linewidth=2)
            axis.plot([o.mean() for o in found.values()], [row] * len(found), "o", color="black", ms=3, alpha=0.6)
            axis.plot(value.mean, row, "|", color=f"C{row % 10}", ms=12, mew=2)
        axis.set(xlim=(-0.04, 1.04), title=figure, yticks=range(len(arms)), yticklabels=arms)
        axis.title.set_fontsize(8)
        axis.grid(alpha=0.3)
    axes[0][0].invert_yaxis()
    return _keep(plot, folder, name, "dots")


def curves(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against steps, a line per seed."""
    shown = curved(figures, records)
    if not shown or " scans" in arms[0]:
        return ""
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.2 * len(shown), 3), sharey=True, squeeze=False)
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, arm in enumerate(arms):
            for record in records:
                if record["arm"] == arm:
                    label = arm if record["seed"] == 0 else None
                    points = sorted(curve(record, figure).items())
                    axis.plot(*zip(*points, strict=True), color=f"C{row % 10}", ls=_style(row), lw=1, label=label)
        axis.set(xlabel="steps", title=f"{figure} (validation)", ylim=(-0.03, 1.03))
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return _keep(plot, folder, name, "curves")


def _style(row: int) -> str:
    return "-" if row < 10 else "--"


def scans(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against the number of training scans, a line per fusion; of the data suite alone."""
    if " scans" not in arms[0]:
        return ""
    shown = figures[:2] + [figure for figure in figures if figure == "frechet"]
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.2 * len(shown), 3), squeeze=False)
    series: dict[str, list[tuple[int, str]]] = {}
    for arm in arms:
        fusion, size = re.fullmatch(r"(.*), (\d+) scans", arm).groups()
        series.setdefault(fusion, []).append((int(size), arm))
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, (fusion, points) in enumerate(series.items()):
            values = [interval(list(outcomes(records, arm, figure).values())) for _, arm in points]
            sizes, means = [size for size, _ in points], [value.mean for value in values]
            errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
            axis.errorbar(sizes, means, yerr=errors, marker="o", ms=3, capsize=3, color=f"C{row}", label=fusion)
        axis.set(xscale="log", xlabel="training scans", title=figure)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    return _keep(plot, folder, name, "scans")


def costs(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against time per picture; of the sampler suite alone."""
    if COST not in records[0]["metrics"]:
        return ""
    shown = figures[:2] + [figure for figure in figures if figure in ("frechet", "residual")]
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.2 * len(shown), 3), squeeze=False)
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, arm in enumerate(arms):
            cost = interval(list(outcomes(records, arm, COST).values())).mean
            found = list(outcomes(records, arm, figure).values())
            if not found:
                continue
            value = interval(found)
            error = [[value.mean - value.low], [value.high - value.mean]]
            axis.errorbar(cost, value.mean, yerr=error, marker="o", ms=4, capsize=3, color=f"C{row % 10}", label=arm)
        axis.set(xscale="log", xlabel=COST, title=figure)
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return _keep(plot, folder, name, "cost")


PLOTS = (dots, curves, scans, costs)

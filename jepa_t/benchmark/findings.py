"""What a report says first: what each comparison found, with a link to it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .records import Record, Timing, arms_of, outcomes
from .statistics import interval, paired

NAMED = 4  # arms; of more, the number is said


@dataclass(frozen=True)
class Finding:
    """What one comparison found.

    Attributes:
        title: Of its section.
        says: A sentence or two.
        behind: How many other arms the best is ahead of by an interval that excludes 0; None where no interval over
            trainings tells, as of a single seed or of timings.
        others: How many other arms there are.
    """

    title: str
    says: str
    behind: int | None = None
    others: int = 0


def compared(title: str, figures: Sequence[str], records: Sequence[Record]) -> Finding:
    """Which arm is best by the first figure that is a share, and which others an interval tells from it."""
    figure = next((name for name in figures if any(name in record.outcomes for record in records)), None)
    arms = {arm: outcomes(records, arm, figure) for arm in arms_of(records)} if figure else {}
    means = {arm: float(np.mean([one.mean() for one in found.values()])) for arm, found in arms.items() if found}
    if not means:
        return Finding(title, "no figure that is a share was kept.")
    best, *others = sorted(means, key=lambda arm: -means[arm])
    says = f"by `{figure}` `{best}` is best with {means[best]:.3f}"
    if not others:
        return Finding(title, f"by `{figure}` `{best}` reaches {means[best]:.3f}.")
    if any(len(arms[best].keys() & arms[arm].keys()) < 2 for arm in others):  # so seeds of each aren't paired
        return Finding(title, f"{says}; seeds are too few for an interval, so it is a hint.")
    behind = [arm for arm in others if interval(paired(arms[best], arms[arm]), signed=True).low > 0]
    return Finding(title, f"{says}; {_told_apart(others, behind)}.", len(behind), len(others))


def _told_apart(others: Sequence[str], behind: Sequence[str]) -> str:
    level = [arm for arm in others if arm not in behind]
    if not behind or not level:
        return f"the interval of its difference {'holds' if level else 'excludes'} 0 for every other arm"
    if len(others) > NAMED:
        return f"the interval of its difference excludes 0 for {len(behind)} of {len(others)} others"
    return f"the interval of its difference excludes 0 for {_names(behind)}, and holds 0 for {_names(level)}"


def _names(arms: Sequence[str]) -> str:
    *first, last = (f"`{arm}`" for arm in arms)
    return f"{', '.join(first)} and {last}" if first else last


def fastest(title: str, timings: Sequence[Timing]) -> Finding:
    """Which arm is fastest."""
    reference = timings[0].arm
    quickest = min(timings, key=lambda timing: float(np.median(timing.ratios)))
    if quickest.arm == reference:
        return Finding(title, f"`{reference}` is fastest.")
    return Finding(title, f"`{quickest.arm}` is {times(quickest.ratios)} times as fast as `{reference}`.")


def times(ratios: Sequence[float]) -> str:
    """How many times as fast: the median, and the range."""
    faster = sorted(1 / ratio for ratio in ratios)
    return f"{float(np.median(faster)):.2f} ({faster[0]:.2f} to {faster[-1]:.2f})"


def overview(findings: Sequence[Finding]) -> str:
    """The first paragraph of a report, and its table of contents."""
    told = [finding for finding in findings if finding.behind is not None]
    ahead = [finding.title for finding in told if finding.behind == finding.others]
    some = sum(0 < (finding.behind or 0) < finding.others for finding in told)
    sentences = []
    if told:
        alone = f"{len(ahead)} of them ({'; '.join(ahead)})" if ahead else "none of them"
        sentences = [
            f"Comparisons with more than one seed: {len(told)}.",
            f"In {alone} the best arm is ahead of all others by a 95 % interval that excludes 0.",
            f"In {some} it is so ahead of some others, and in {len(told) - len(ahead) - some} of none.",
            "The best of several arms is the luckiest too, so its own figure flatters it.",
        ]
    sentences.append("Each comparison's best arm, by the first share in its table, stands in the contents.")
    lines = [f"- [{finding.title}](#{anchor(finding.title)}): {finding.says}" for finding in findings]
    return "\n\n".join([" ".join(sentences), "## Contents", "\n".join(lines)])


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower()))

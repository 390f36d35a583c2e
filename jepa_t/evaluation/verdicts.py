"""What judges by prompts: verdicts, one per image, and what becomes of them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from .metric import Metric, in_order

Columns = dict[str, list[bool]]  # by the figure's name: whether each image is right


class PromptMetric(Metric):
    """A metric with a verdict on each prompt, which the benchmark compares arms by.

    Records have ``index``, ``split``, ``facts`` and ``verdict``. Figures are called ``<split>/<what>``, or ``<what>``
    alone where they are of no split.

    Attributes:
        headlines: The last parts of the names of those shares that the benchmark compares prompt by prompt. The
            guidance scale of a run is chosen by the first, of the split ``seen``.
    """

    headlines: tuple[str, ...] = ("all", "swap_group")

    @abstractmethod
    def columns(self, results: Sequence[dict]) -> Columns:
        """By the name of each figure that is a share: whether each image, or pair, is right."""

    @abstractmethod
    def other_figures(self, records: list[dict]) -> dict[str, float]:
        """The figures that are no shares of verdicts; of all records, each once and in order."""

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of all results, whose order and repetitions don't matter."""
        records = in_order(results)
        return shares(self.columns(records)) | self.other_figures(records) if records else {}

    def is_headline(self, figure: str) -> bool:
        """Whether the benchmark compares this figure; a judge's own on real images, ``real/...``, it never does."""
        return not figure.startswith("real/") and figure.rpartition("/")[2] in self.headlines


def swap_group(records: Sequence[dict]) -> list[bool]:
    """For each pair of swapped prompts (equal ``facts["group"]``): whether both are right in all."""
    groups: dict[int, bool] = {}
    for record in records:
        if "group" in record["facts"]:
            group = record["facts"]["group"]
            groups[group] = groups.get(group, True) and record["verdict"]["all"]
    return list(groups.values())


def shares(columns: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    """The share of right ones in each column that has any.

    Examples:
        >>> shares({"seen/all": [True, False], "unseen/all": []})
        {'seen/all': 0.5}
    """
    return {name: sum(column) / len(column) for name, column in columns.items() if column}

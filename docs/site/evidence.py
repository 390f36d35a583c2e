"""Draws the README's figure from docs/benchmarks/results.json: ``python docs/site/evidence.py``."""

from pathlib import Path

from jepa_t.benchmark.plots import pyplot
from jepa_t.benchmark.records import load, outcomes, read
from jepa_t.benchmark.statistics import interval
from jepa_t.sheets import enlarge, to_image
from jepa_t.worlds.shapes import ShapeScenes

DOCS = Path(__file__).parents[1]
FIGURE = "unseen/located/all"
ARMS = {
    "none": "no text",
    "late": "late: after the predictor",
    "early": "early: into the input",
    "in every block": "cross-attention in every block",
    "jepa_t": "JEPA-T",
}


def main() -> None:
    """An image and its caption, and beside it how many each fusion draws right: bars are means, dots are seeds."""
    records = read(load(DOCS / "benchmarks")["suites"]["fusion"]["records"], "shapes")
    scenes = ShapeScenes("tiny", size=8, families={"located": 1.0})
    plot, (left, right) = pyplot().subplots(1, 2, figsize=(9, 2.4), width_ratios=(1, 4), layout="constrained")
    left.imshow(enlarge(to_image(scenes.images[0])))
    left.set_title(f"“{scenes.captions[0]}”", fontsize=9)
    left.set(xticks=[], yticks=[])
    for row, arm in enumerate(ARMS):
        seeds = list(outcomes(records, arm, FIGURE).values())
        right.barh(row, interval(seeds).mean, color="C0" if arm == "jepa_t" else "0.75")
        right.plot([seed.mean() for seed in seeds], [row] * len(seeds), "o", color="black", ms=3)
    right.set(xlim=(0, 1.02), yticks=range(len(ARMS)), yticklabels=ARMS.values())
    right.set_title("share of images that show all that the caption says", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
    plot.savefig(DOCS / "evidence.png", dpi=160, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()

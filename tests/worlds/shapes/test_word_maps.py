"""Word maps of a model that has learned where scenes have their objects. Minutes: run with ``pytest -m slow``."""

import pytest

from jepa_t.cli import main
from jepa_t.pipeline import Pipeline
from jepa_t.worlds.shapes import ShapePrompts
from jepa_t.worlds.shapes.scenes import PLACES

LOCATED = "train_dataloader.dataset.families.located=1.0", "train_dataloader.dataset.families.related=0.0"
OPTIONS = ["train_cfg.max_iters=1500", "train_dataloader.dataset.size=8192", "custom_hooks=[]", *LOCATED]


def on_its_cell(draw, count=100):
    """For located prompts, whether the object's cell looks more at its words than the others do in the mean."""
    prompts = ShapePrompts(splits=("unseen_place",), per_split=count, families=("located",), seed=5)
    maps = draw(prompts.captions, range(count), word_maps=True).word_maps
    found = []
    for facts, words in zip(prompts.facts, maps, strict=True):
        thing, cell = facts["objects"][0], PLACES.index(facts["place"])
        shares = (words.of(thing["colour"]) + words.of(thing["shape"])).flatten()
        found.append((shares[cell] > (shares.sum() - shares[cell]) / (len(shares) - 1)).item())
    return found


@pytest.mark.slow
def test_the_object_s_words_are_looked_at_from_its_cell(tmp_path):
    assert main(["train", "jepat_shapes", "--work-dir", str(tmp_path), "--cfg-options", *OPTIONS]) == 0
    found = on_its_cell(Pipeline.from_pretrained(tmp_path, device="cpu"))
    assert sum(found) >= 0.9 * len(found)

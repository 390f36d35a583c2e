"""The metric of ShapeScenes: right for true images, wrong for others, and the same in any order."""

import random

import numpy as np
import pytest
import torch

from jepa_t.data.hashing import Stream
from jepa_t.errors import UserError
from jepa_t.registry import METRICS, build
from jepa_t.worlds.shapes import ShapePrompts
from jepa_t.worlds.shapes.captions import TEMPLATES, contents_from
from jepa_t.worlds.shapes.metric import ShapesMetric, total_variation
from jepa_t.worlds.shapes.rendering import render
from jepa_t.worlds.shapes.scenes import complete, preset_named

SPLITS = ("seen", "unseen_binding", "unseen_place", "unseen_relation", "unseen_template", "swap")


def samples_of(prompts, preset, draw=complete):
    """Data samples with true images, of scenes that ``draw`` makes of the prompts' contents."""
    preset = preset_named(preset)
    scenes = draw(contents_from(prompts.facts), preset, Stream(5, "test", np.arange(len(prompts))))
    images = torch.from_numpy(render(scenes, preset.size)) / 127.5 - 1
    columns = prompts.__getitems__(list(range(len(prompts))))["data_samples"]
    names = ("caption", "index", "split", "facts")
    return [
        dict(zip(names, row, strict=True)) | {"image": image}
        for image, *row in zip(images, *(columns[name] for name in names), strict=True)
    ]


def figures(samples, preset="tiny", batch=64):
    metric = build({"type": "ShapesMetric", "preset": preset}, METRICS)
    for start in range(0, len(samples), batch):
        metric.process(None, samples[start : start + batch])
    return metric.compute_metrics(metric.results)


@pytest.fixture(scope="module")
def tiny():
    return samples_of(ShapePrompts("tiny", SPLITS, per_split=60), "tiny")


def test_true_images_are_right_in_everything(tiny):
    found = figures(tiny)
    for key in (
        "seen/all", "seen/located/all", "seen/related/all", "seen/colour", "seen/shape", "seen/place",
        "seen/related/relation", "seen/related/binding", "seen/count", "seen/background", "unseen/all",
        "unseen/located/all", "unseen/related/all", "unseen_binding/all", "unseen_template/all", "swap/all",
        "unseen/swap_group", "real/all",
    ):  # fmt: skip
        assert found[key] == 1, key
    assert all(value == 1 for key, value in found.items() if "residual" not in key and "diversity" not in key)
    assert all(isinstance(value, float) for value in found.values())
    assert found["residual"] < 0.01
    assert found["diversity"] < 0.15
    assert "seen/located/relation" not in found
    assert "seen/size" not in found


@pytest.mark.parametrize("preset", ["base", "large"])
def test_other_presets_with_all_families(preset):
    splits = (*SPLITS, "unseen_count", "unseen_synonym", "class_only")
    found = figures(samples_of(ShapePrompts(preset, splits, 20, TEMPLATES), preset), preset)
    assert all(value == 1 for key, value in found.items() if "residual" not in key and "diversity" not in key)
    assert {f"unseen/{family}/all" for family in TEMPLATES} <= set(found)
    assert {"seen/size", "class_only/single/all", "unseen_synonym/all"} <= set(found)
    assert "unseen_binding/located/all" in found
    assert "unseen_binding/single/all" not in found  # it is unseen/single


def test_order_batches_and_repetitions_do_not_matter(tiny):
    shuffled = tiny + tiny[:7]
    random.shuffle(shuffled)
    assert figures(shuffled, batch=50) == figures(tiny)


def test_images_of_other_prompts_are_wrong(tiny):
    wrong = [{**sample, "image": other["image"]} for sample, other in zip(tiny, tiny[1:] + tiny[:1], strict=True)]
    found = figures(wrong)
    assert found["seen/all"] < 0.05
    assert found["unseen/swap_group"] == 0
    assert found["real/all"] == 1


def test_a_bag_of_words_gets_half_of_the_swap_prompts_and_no_pair(tiny):
    swaps = [sample for sample in tiny if sample["split"] == "swap"]
    same = [{**sample, "image": swaps[row // 2 * 2]["image"]} for row, sample in enumerate(swaps)]
    found = figures(same)
    assert found["swap/all"] == 0.5
    assert found["swap/binding"] == 1
    assert found["unseen/swap_group"] == 0


def test_blank_images_are_wrong_and_not_diverse(tiny):
    found = figures([{**sample, "image": torch.full((3, 24, 24), -1.0)} for sample in tiny])
    rates = {key: value for key, value in found.items() if key.endswith("/all") and "real" not in key}
    assert set(rates.values()) == {0}
    assert found["diversity"] > 0.8


def test_diversity_sees_collapse_where_captions_leave_things_open():
    prompts = ShapePrompts("tiny", ("seen",), per_split=400)

    def collapsed(contents, preset, stream):
        return complete(contents, preset, Stream(0, "one", np.zeros_like(stream.index)))

    one, many = (figures(samples_of(prompts, "tiny", draw)) for draw in (collapsed, complete))
    assert one["seen/all"] == many["seen/all"] == 1
    assert one["real/diversity"] == many["real/diversity"]
    assert many["diversity"] < 0.1
    assert many["real/diversity"] < 0.1
    assert one["diversity"] > 0.3


def test_total_variation_is_a_distance_between_histograms():
    first, second, third = (np.array(values) for values in ([1, 1, 2, 3], [1, 2, 2, 3], [7, 8]))
    assert total_variation(first, first) == 0
    assert total_variation(first, second) == total_variation(second, first) == 0.25
    assert total_variation(first, third) == 1
    assert total_variation(np.tile(first, 3), first) == 0


def test_images_of_another_size_are_told_in_one_line(tiny):
    with pytest.raises(UserError, match=r"images of \(3, 32, 32\), got \(3, 24, 24\)"):
        ShapesMetric("base").process(None, tiny[:1])

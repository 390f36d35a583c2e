"""The judge of the inked digits is right about real images, wrong ones fail, and garbage is just wrong."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.errors import UserError
from jepa_t.registry import METRICS, build
from jepa_t.worlds.digits import DigitPrompts, DigitsMetric
from jepa_t.worlds.digits.judge import read
from jepa_t.worlds.digits.layouts import LAYOUTS
from jepa_t.worlds.digits.rendering import render, render_facts
from jepa_t.worlds.digits.scans import load_scans, pick
from jepa_t.worlds.digits.scenes import INKS, PAPERS, Scenes

layouts = pytest.mark.parametrize("layout", LAYOUTS)


@cache
def held_out() -> tuple[torch.Tensor, Scenes]:
    """Every held-out scan in every ink on every paper."""
    scans = load_scans()[1]
    ink, paper = (column.ravel() for column in np.meshgrid(range(len(INKS)), range(len(PAPERS))))
    count = len(scans.digits)
    scenes = Scenes(np.tile(scans.digits, len(ink))[:, None], np.repeat(ink, count)[:, None], np.repeat(paper, count))
    coverage = scans.coverage.repeat(len(ink), 1, 1)[:, None]
    return render(coverage, scenes, LAYOUTS["single"]), scenes


@cache
def asked(layout: str) -> list[dict]:
    """Prompts of all splits, 100 of each."""
    splits = ("seen", "unseen", "paraphrase", *(() if layout == "single" else ("swap",)))
    prompts = DigitPrompts(layout, splits=splits, per_split=100)
    batch = prompts.__getitems__(list(range(len(prompts))))["data_samples"]
    return [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]


@cache
def real(layout: str) -> torch.Tensor:
    return render_facts([prompt["facts"] for prompt in asked(layout)], LAYOUTS[layout])


def shown(prompts: list[dict], images: torch.Tensor) -> list[dict]:
    return [prompt | {"image": image} for prompt, image in zip(prompts, images, strict=True)]


def measure(layout: str, images: torch.Tensor, prompts: list[dict] | None = None) -> dict[str, float]:
    metric = DigitsMetric(layout)
    samples = shown(prompts or asked(layout), images)
    for start in range(0, len(samples), 70):
        metric.process(None, samples[start : start + 70])
    return metric.evaluate(len(samples))


@cache
def truth(layout: str) -> dict[str, float]:
    return measure(layout, real(layout))


def copies(layout: str, *, collapsed: bool) -> torch.Tensor:
    """The prompts drawn with training scans: always the first of each digit, or the next at each asking."""
    facts = [prompt["facts"] for prompt in asked(layout)]
    digits = np.array([fact["digits"] for fact in facts])
    inks = np.array([[list(INKS).index(ink) for ink in fact["inks"]] for fact in facts])
    papers = np.array([list(PAPERS).index(fact["paper"] or "white") for fact in facts])
    before = [digits.ravel()[:i].tolist().count(digit) for i, digit in enumerate(digits.ravel())]
    rank = np.zeros_like(digits) if collapsed else np.reshape(before, digits.shape)
    return render(pick(load_scans()[0], digits, rank), Scenes(digits, inks, papers), LAYOUTS[layout])


def changed(layout: str, **facts) -> torch.Tensor:
    """Real images of the prompts with some facts replaced: functions of the right ones."""
    told = [prompt["facts"] for prompt in asked(layout)]
    new = [old | {name: change(old[name]) for name, change in facts.items()} for old in told]
    return render_facts(new, LAYOUTS[layout])


def another(names):
    """The next one of the names instead of the given one."""
    order = list(names)
    return lambda name: order[(order.index(name) + 1) % len(order)]


def test_the_judge_is_right_about_held_out_scans():
    images, scenes = held_out()
    seen = read(images)
    assert (seen.papers == scenes.papers).all()
    assert (seen.inks == scenes.inks[:, 0]).all()
    assert 0.985 <= (seen.digits == scenes.digits[:, 0]).mean() < 0.999  # all right: it has seen them before
    coverage = load_scans()[1].coverage.repeat(18, 1, 1)
    torch.testing.assert_close(seen.coverage, coverage, atol=1e-5, rtol=0)


def test_the_judge_stands_noise():
    images, scenes = held_out()
    noise = 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    seen = read(images + noise)
    assert (seen.papers == scenes.papers).mean() > 0.999
    assert (seen.inks == scenes.inks[:, 0]).mean() > 0.999
    assert (seen.digits == scenes.digits[:, 0]).mean() > 0.97


@layouts
def test_real_images_pass(layout):
    figures = truth(layout)
    places, ending = (1, "") if layout == "single" else (2, "s")
    for split in {prompt["split"] for prompt in asked(layout)}:
        assert figures[f"{split}/ink{ending}"] == 1
        assert figures[f"{split}/paper"] == 1
        assert figures[f"{split}/all"] == figures[f"{split}/digit{ending}"] >= 1 - 0.03 * places
    assert figures["real/all"] >= 1 - 0.02 * places


@layouts
def test_the_figures_are_those_that_are_documented(layout):
    figures = truth(layout)
    ending = "" if layout == "single" else "s"
    attributes = (f"digit{ending}", f"ink{ending}", "paper", "all")
    splits = {prompt["split"] for prompt in asked(layout)} | {"real"}
    expected = {f"{split}/{attribute}" for split in splits for attribute in attributes}
    expected |= {"frechet", "real/frechet", "nearest_train", "nearest_held_out"}
    assert set(figures) == expected | (set() if layout == "single" else {"swap_group"})
    assert all(isinstance(value, float) and np.isfinite(value) for value in figures.values())


@layouts
@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("wrong", ["digit", "ink", "paper"])
def test_one_wrong_attribute_fails_and_the_others_stand(layout, place, wrong):
    def there(change):
        return lambda values: [change(v) if i == place % len(values) else v for i, v in enumerate(values)]

    changes = {
        "digit": {"digits": there(another(range(10)))},
        "ink": {"inks": there(another(INKS))},
        "paper": {"paper": lambda name: name and another(PAPERS)(name)},
    }
    figures, right = measure(layout, changed(layout, **changes[wrong])), truth(layout)
    ending = "" if layout == "single" else "s"
    for split in ("seen", "unseen", "paraphrase"):
        for attribute, key in (("digit", f"digit{ending}"), ("ink", f"ink{ending}"), ("paper", "paper")):
            if attribute == wrong:
                assert figures[f"{split}/{key}"] <= 0.03
            else:
                assert figures[f"{split}/{key}"] == pytest.approx(right[f"{split}/{key}"], abs=0.06)
        concerned = [wrong != "paper" or p["facts"]["paper"] for p in asked(layout) if p["split"] == split]
        assert figures[f"{split}/all"] <= 1 - np.mean([bool(asks) for asks in concerned]) + 0.03


def test_half_a_image_on_another_paper_is_wrong():
    images = real("pairs").clone()
    images[..., 8:] = changed("pairs", paper=lambda name: name and another(PAPERS)(name))[..., 8:]
    assert measure("pairs", images)["seen/paper"] == 0


@pytest.mark.parametrize("layout", ["pairs", "stacked"])
def test_swapped_places_fail_both_of_a_pair(layout):
    figures = measure(layout, changed(layout, digits=lambda d: d[::-1], inks=lambda i: i[::-1]))
    assert truth(layout)["swap_group"] > 0.9
    assert figures["swap_group"] == figures["swap/all"] == 0
    assert figures["seen/all"] < 0.05


def test_a_swap_group_needs_both():
    images = real("pairs").clone()
    second = [i for i, prompt in enumerate(asked("pairs")) if prompt["split"] == "swap"][1::2]
    images[second] = 0
    figures = measure("pairs", images)
    assert figures["swap/all"] > 0.45
    assert figures["swap_group"] == 0


GARBAGE = {
    "noise": lambda shape: torch.rand(shape) * 2 - 1,
    "loud noise": lambda shape: torch.randn(shape) * 1e20,
    "white": torch.ones,
    "black": lambda shape: -torch.ones(shape),
    "grey": torch.zeros,
    "solid red": lambda shape: torch.tensor(INKS["red"])[:, None, None].expand(shape).clone(),
    "solid cyan": lambda shape: torch.tensor(INKS["cyan"])[:, None, None].expand(shape).clone(),
    "not a number": lambda shape: torch.full(shape, float("nan")),
    "infinite": lambda shape: torch.full(shape, float("-inf")),
}


@pytest.mark.parametrize("layout", ["single", "stacked"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_wrong_and_nothing_worse(layout, kind):
    figures = measure(layout, GARBAGE[kind](real(layout).shape))
    for split in {prompt["split"] for prompt in asked(layout)}:
        assert figures[f"{split}/all"] == 0
        assert figures[f"{split}/paper"] == 0
    assert np.isfinite(list(figures.values())).all()
    assert figures["frechet"] > 3 * figures["real/frechet"]


def test_one_bad_pixel_spoils_a_image():
    images = real("single").clone()
    images[:, 0, 7, 7] = float("nan")
    assert measure("single", images)["seen/all"] == 0


@given(seed=st.integers(0, 2**32 - 1), processes=st.integers(1, 4))
def test_processes_padding_and_order_do_not_matter(seed, processes):
    metric = DigitsMetric("pairs")
    samples = shown(asked("pairs"), real("pairs"))[::9]
    metric.process(None, samples)
    alone = metric.compute_metrics(metric.results)
    generator = np.random.default_rng(seed)
    padded = [*metric.results, *metric.results[: -len(metric.results) % processes]]
    shared = [record for rank in range(processes) for record in padded[rank::processes]]
    generator.shuffle(shared)
    assert metric.compute_metrics(shared) == alone


@layouts
def test_real_images_lie_near_the_floor_and_poor_ones_far_above(layout):
    figures = truth(layout)
    assert figures["frechet"] < figures["real/frechet"] < 0.3
    noisy = measure(layout, real(layout) + 0.2 * torch.randn(real(layout).shape))
    assert noisy["frechet"] > 1.5 * figures["real/frechet"]
    collapsed = measure(layout, copies(layout, collapsed=True))
    assert collapsed["frechet"] > 5 * figures["real/frechet"]
    assert collapsed["seen/all"] > 0.9


def test_copies_of_training_scans_are_found_out():
    copied = measure("single", copies("single", collapsed=False))
    honest = truth("single")
    assert copied["nearest_train"] < 1e-4
    assert copied["frechet"] == pytest.approx(copied["real/frechet"], rel=1e-3)
    assert honest["nearest_train"] == pytest.approx(honest["nearest_held_out"], rel=0.05)


def test_what_cannot_be_measured_is_left_out():
    few = measure("single", real("single")[:64], asked("single")[:64])
    assert "frechet" not in few
    assert "nearest_train" in few
    other = [prompt for prompt in asked("single") if prompt["split"] == "paraphrase"]
    figures = measure("single", real("single")[-100:], other)
    attributes = ("digit", "ink", "paper", "all")
    assert set(figures) == {f"{split}/{name}" for split in ("paraphrase", "real") for name in attributes}
    assert DigitsMetric().compute_metrics([]) == {}


def test_the_metric_is_built_by_name_and_another_layout_is_told():
    metric = build({"type": "DigitsMetric", "layout": "pairs"}, METRICS)
    with pytest.raises(UserError, match="layout='pairs'"):
        metric.process(None, [asked("single")[0] | {"image": torch.zeros(3, 8, 8)}])
    with pytest.raises(UserError, match="layout='pairs'"):
        metric.process(None, [asked("pairs")[0] | {"image": torch.zeros(3, 16, 8)}])
    with pytest.raises(UserError, match="stacked"):
        DigitsMetric("stack")

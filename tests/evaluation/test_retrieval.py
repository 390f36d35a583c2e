"""Retrieval: the asked image is the nearest or it isn't."""

import pytest
import torch
from tiny import smooth_images

from jepa_t.errors import UserError
from jepa_t.evaluation.retrieval import Gallery, RetrievalMetric, blur
from jepa_t.sheets import to_bytes


def test_a_real_image_is_its_own_nearest_also_when_disturbed():
    images = smooth_images(64)
    gallery, asked = Gallery(images), torch.arange(64)
    assert torch.equal(gallery.ranks(images, asked)[1], asked)
    assert (gallery.ranks(images, asked)[0] == 0).all()
    assert (gallery.ranks(gallery.disturbed(asked), asked)[0] == 0).float().mean() > 0.9


def test_a_rank_counts_those_that_are_nearer_and_equal_ones_count_as_right():
    grey = torch.linspace(-1, 1, 5)[:, None, None, None].expand(-1, 3, 8, 8)
    gallery = Gallery(torch.cat([grey, grey[:1]]))
    ranks, nearest = gallery.ranks(grey[:1], torch.tensor([3]))
    assert (ranks.item(), nearest.item()) == (4, 0)
    assert gallery.ranks(grey[:1], torch.tensor([5]))[0].item() == 0
    assert gallery.errors(grey[:1], torch.tensor([4])).item() == 1
    images = smooth_images(500)
    twins = Gallery(torch.cat([images, images[:1]]))
    assert not any(twins.ranks(images[:count], torch.tensor([500] * count))[0][0] for count in (1, 3, 64))


def test_distances_are_those_of_blurred_images():
    images, others = smooth_images(6), smooth_images(4, seed=3)
    expected = (blur(others)[:, None] - blur(images)).square().flatten(2).mean(2) / 4
    assert torch.allclose(Gallery(images).distances(others), expected, atol=1e-5)
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert torch.allclose(blur(flat), flat)


class Images(torch.utils.data.Dataset):
    images = smooth_images(200, (16, 16))


@pytest.fixture(scope="module")
def metric():
    return RetrievalMetric({"type": Images})


def judged(metric, drawn, asked, splits):
    metric.results.clear()
    rows = zip(drawn, splits, asked, strict=True)
    samples = [
        {"image": image, "index": index, "split": split, "facts": {"image": number}}
        for index, (image, split, number) in enumerate(rows)
    ]
    metric.process(None, samples[:3])
    metric.process(None, samples[3:] + samples[:1])  # the last batch of several processes repeats some
    return metric.compute_metrics(metric.results)


def test_figures_are_shares_and_distances_by_split_and_the_judge_s_own(metric):
    figures = judged(metric, Images.images[[0, 1, 2, 7]], (0, 5, 2, 7), ("a", "a", "b", "b"))
    assert (figures["a/r1"], figures["b/r1"], figures["real/r5"]) == (0.5, 1, 1)
    assert figures["b/error"] == 0 < figures["a/error"]
    names = [f"{split}/{what}" for split in ("a", "b", "real") for what in ("r1", "r5", "error")]
    assert list(figures) == names
    assert metric.columns(metric.results) == {
        "a/r1": [True, False], "a/r5": [True, figures["a/r5"] == 1], "b/r1": [True, True], "b/r5": [True, True],
    }  # fmt: skip
    assert metric.compute_metrics([]) == {}


def test_images_of_whole_numbers_are_judged_as_they_are_seen(metric):
    drawn, asked = Images.images[[0, 1, 2, 7]], (0, 5, 2, 7)
    seen, stored = (judged(metric, images, asked, ["a"] * 4) for images in (drawn, to_bytes(drawn)))
    assert stored["a/r1"] == seen["a/r1"] == 0.75
    assert stored["a/error"] == pytest.approx(seen["a/error"], abs=1e-3)


def test_the_benchmark_compares_the_nearest_alone(metric):
    assert [name for name in ("seen/r1", "seen/r5", "seen/error", "real/r1") if metric.is_headline(name)] == ["seen/r1"]


def test_the_frechet_distance_is_of_a_split_that_has_more_images_than_features(metric):
    real, numbers, splits = Images.images, range(200), ["a"] * 150 + ["b"] * 50
    assert metric.features.width < 150
    same = judged(metric, real, numbers, splits)
    assert same["a/frechet"] < 1e-6 < same["real/frechet"]
    assert "b/frechet" not in same
    assert judged(metric, blur(real), numbers, splits)["a/frechet"] > 1e-3
    assert judged(metric, real.flip(0), numbers, splits)["a/frechet"] > 1e-3  # of others in part


def test_a_gallery_that_says_nothing_is_refused_and_five_of_five_are_no_figure():
    class Few(Images):
        images = Images.images[:5]

    figures = judged(RetrievalMetric({"type": Few}), Few.images, range(5), "aaaaa")
    assert "a/r1" in figures
    assert "a/r5" not in figures
    assert "real/r5" not in figures
    Few.images = Few.images[:1]
    with pytest.raises(UserError, match="the gallery has one image"):
        RetrievalMetric({"type": Few})


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_images_that_hold_no_numbers_are_refused(metric, value):
    with pytest.raises(UserError, match="the images hold NaN or infinity"):
        judged(metric, torch.full((1, 3, 16, 16), float(value)), (0,), ("a",))


def test_images_of_another_size_are_refused():
    sample = {"image": torch.zeros(3, 4, 4), "index": 0, "split": "a", "facts": {"image": 0}}
    with pytest.raises(UserError, match=r"gallery has images of \[3, "):
        RetrievalMetric({"type": Images}).process(None, [sample])

"""Distances of images: torch-fidelity's own figures, references, and what is refused."""

import functools

import numpy as np
import pytest
import torch
from tiny_features import inception, write_folder
from torch_fidelity import calculate_metrics

from jepa_t.errors import UserError
from jepa_t.evaluation.distribution import (
    DistributionMetric,
    Reference,
    inception_score,
    neighbours_and_kernel,
    open_reference,
    save_statistics,
)
from jepa_t.evaluation.features import extract
from jepa_t.evaluation.frechet import Moments, frechet_distance
from jepa_t.evaluation.images import open_images, pack, read
from jepa_t.registry import FEATURES, METRICS, build

COUNTS = {"generated": 70, "real": 72}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of images of different contrast."""
    root = tmp_path_factory.mktemp("images")
    contrasts = {"generated": 50, "real": 60}
    return {
        name: write_folder(root / name, count, seed, contrasts[name])
        for seed, (name, count) in enumerate(COUNTS.items())
    }


@functools.cache
def shared_extractor():
    return build(inception(), FEATURES)


@pytest.fixture
def extractor():
    return shared_extractor()


def metric_of(reference=None, **options) -> DistributionMetric:
    """A metric whose network is built once for all."""
    metric = build({"type": "DistributionMetric", "features": inception(), "reference": reference, **options}, METRICS)
    metric.extractor = shared_extractor()
    return metric


def judge(folder, reference, batch_size=30, **options):
    return judge_with(metric_of(None if reference is None else str(reference), **options), folder, batch_size)


def judge_with(metric, folder, batch_size=30):
    images = open_images(folder)
    metric.prepare(None, len(images))
    for indices, batch in read(images, batch_size):
        metric.process(None, [{"index": i, "image": image} for i, image in zip(indices, batch, strict=True)])
    return metric.evaluate(len(images))


@pytest.fixture(scope="module")
def ours(folders):
    return judge(folders["generated"], folders["real"])


def test_figures_are_those_of_torch_fidelity(folders, ours):
    theirs = calculate_metrics(
        input1=str(folders["generated"]),
        input2=str(folders["real"]),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=inception()["weights"],
        **{f"feature_layer_{name}": "64" for name in ("fid", "kid", "prc")},
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=70,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    same = {
        "FID-70": "frechet_inception_distance",
        "IS-70": "inception_score_mean",
        "IS_std": "inception_score_std",
        "KID": "kernel_inception_distance_mean",
        "KID_std": "kernel_inception_distance_std",
        "precision": "precision",
        "recall": "recall",
    }
    assert ours["FID-70"] > 0.01
    assert 0.05 < ours["precision"] < 0.95
    for name, other in same.items():
        assert ours[name] == pytest.approx(theirs[other], rel=1e-4, abs=1e-7), name


def test_figures_do_not_depend_on_batches_or_order(folders, ours):
    metric = metric_of(str(folders["real"]), batch_size=17)
    indices, batch = next(read(open_images(folders["generated"]), 70))
    samples = [{"index": i, "image": image} for i, image in zip(indices, batch, strict=True)]
    for part in (samples[45:], samples[:20], samples[10:50]):  # in part twice, as MMEngine pads
        metric.process(None, part)
    assert metric.evaluate(70) == pytest.approx(ours, rel=1e-5)


def test_images_in_minus_1_to_1_are_rounded(folders):
    """Truncation darkens by half a step."""
    metric, rounded = metric_of(), metric_of()
    images = torch.stack(next(read(open_images(folders["real"]), 4))[1])
    noisy = (images.double() + torch.rand(images.shape) * 0.98 - 0.49) / 127.5 - 1
    for judged, shown in ((metric, noisy.float()), (rounded, images)):
        judged.process(None, [{"index": index, "image": image} for index, image in enumerate(shown)])
    np.testing.assert_array_equal(metric.results[0][2]["features"], rounded.results[0][2]["features"])


def test_without_a_reference_there_is_the_score_alone(folders, ours):
    figures = judge(folders["generated"], None)
    assert set(figures) == {"IS-70", "IS_std"}
    assert figures["IS-70"] == pytest.approx(ours["IS-70"], rel=1e-5)
    assert metric_of().compute_metrics([]) == {}


@pytest.mark.parametrize("keep", [False, True])
def test_statistics_serve_for_the_images(folders, extractor, ours, tmp_path, keep):
    batches = (extract(extractor, batch) for _, batch in read(open_images(folders["real"]), 40))
    assert save_statistics(tmp_path / "real.npz", extractor, batches, keep) == 72
    figures = judge(folders["generated"], tmp_path / "real.npz")
    expected = ours if keep else {k: v for k, v in ours.items() if ("ID" in k and "KID" not in k) or "IS" in k}
    assert figures == pytest.approx(expected, rel=1e-4)
    with np.load(tmp_path / "real.npz") as file:
        assert file["mu"].dtype == file["sigma"].dtype == np.float64
        assert file["sigma_s"].shape == (63, 63)


def test_adm_files_load_as_they_are(folders, ours, extractor, tmp_path):
    """Images alone, as ADM's samples; and images whose statistics are of more, as its reference."""
    pack(open_images(folders["real"]), tmp_path / "real.npz")
    pack(open_images(folders["generated"]), tmp_path / "generated.npz")
    assert judge(tmp_path / "generated.npz", tmp_path / "real.npz") == pytest.approx(ours, rel=1e-4)
    images = np.load(tmp_path / "real.npz")["arr_0"]
    all_of_them = extract(extractor, next(read(open_images(folders["generated"]), 70))[1])
    moments = {name: Moments().add(all_of_them[name]).gaussian() for name in ("features", "spatial")}
    arrays = {
        f"{name}{ending}": value.float().numpy()
        for ending, fitted in (("", moments["features"]), ("_s", moments["spatial"]))
        for name, value in (("mu", fitted.mean), ("sigma", fitted.covariance))
    }
    np.savez(tmp_path / "adm.npz", arr_0=images, **arrays)
    figures = judge(folders["generated"], tmp_path / "adm.npz")
    assert figures["FID-70"] < 1e-4
    assert figures["sFID-70"] < 1e-4
    for name in ("precision", "recall", "KID"):
        assert figures[name] == pytest.approx(ours[name], rel=1e-4)
    np.savez(tmp_path / "adm.npz", arr_0=images, mu=arrays["mu"], sigma=arrays["sigma"])
    figures = judge(folders["generated"], tmp_path / "adm.npz")
    assert figures["FID-70"] < 1e-4
    assert "sFID-70" not in figures  # these images are a part of those that FID is of


def test_facts_tell_features_and_reference(folders, extractor, tmp_path):
    batches = (extract(extractor, batch) for _, batch in read(open_images(folders["real"]), 72))
    save_statistics(tmp_path / "real.npz", extractor, batches, keep=False)
    facts = metric_of(str(tmp_path / "real.npz")).facts["InceptionFeatures"]
    assert facts["reference"] == "real.npz"
    assert len(facts["reference_sha256"]) == len(facts["features_sha256"]) == 64
    assert facts["torch_fidelity"]
    metric = metric_of(str(folders["real"]))
    assert "reference_sha256" not in metric.facts["InceptionFeatures"]  # nothing has been looked at
    judge_with(metric, folders["generated"])
    seen = metric.facts["InceptionFeatures"]
    assert (seen["reference"], len(seen["reference_sha256"])) == (folders["real"].name, 64)


def test_mistakes_are_told_before_anything_is_drawn(folders, extractor, tmp_path):
    with pytest.raises(UserError, match=r"64 generated images in 64 features has no meaning.*50,000"):
        metric_of(str(folders["real"])).prepare(None, 64)
    metric_of(str(folders["real"])).prepare(None, 65)
    metric_of(str(folders["real"]), allow_few=True).prepare(None, 3)
    judge_few = metric_of(str(folders["real"]))  # another loop than ours asks nothing beforehand
    judge_few.process(None, [{"index": i, "image": torch.zeros(3, 9, 9)} for i in range(64)])
    with pytest.raises(UserError, match="64 generated images"):
        judge_few.evaluate(64)
    with pytest.raises(UserError, match="doesn't exist"):
        metric_of(str(tmp_path / "absent.npz")).prepare(None, 100)
    (tmp_path / "damaged.npz").write_bytes(b"PK damaged")
    with pytest.raises(UserError, match="damaged"):
        open_reference(str(tmp_path / "damaged.npz"), extractor)
    np.savez(tmp_path / "other.npz", mu=np.zeros(8), sigma=np.eye(8))
    with pytest.raises(UserError, match="8 features, the extractor gives 64"):
        open_reference(str(tmp_path / "other.npz"), extractor)
    np.savez(tmp_path / "hashed.npz", mu=np.zeros(64), sigma=np.eye(64), features_sha256=np.array("0" * 64))
    with pytest.raises(UserError, match="other feature weights"):
        open_reference(str(tmp_path / "hashed.npz"), extractor)
    np.savez(tmp_path / "few.npz", mu=np.zeros(64), sigma=np.eye(64), count=np.array(64))
    with pytest.raises(UserError, match="64 real images in 64 features has no meaning"):
        metric_of(str(tmp_path / "few.npz")).prepare(None, 100)
    np.savez(tmp_path / "useless.npz", labels=np.zeros(8))
    with pytest.raises(UserError, match="it needs mu and sigma, or arr_0"):
        open_reference(str(tmp_path / "useless.npz"), extractor)


def test_fifty_thousand_need_no_number_beside_them(monkeypatch):
    monkeypatch.setattr("jepa_t.evaluation.distribution.STANDARD", 6)
    metric = metric_of(allow_few=True)
    metric.reference = Reference(Moments().add(torch.randn(9, 4)).gaussian())
    features = torch.randn(6, 4).numpy()
    assert set(metric.compute_metrics([("generated", list(range(6)), {"features": features})])) == {"FID"}


@pytest.mark.parametrize(("count", "says"), [(10, "an Inception Score of 10"), (19, "an Inception Score of 19")])
def test_a_score_of_few_is_refused(count, says):
    with pytest.raises(UserError, match=f"{says} images has no meaning; use 20 or more"):
        metric_of().prepare(None, count)
    metric = metric_of()  # another loop than ours asks nothing beforehand
    metric.process(None, [{"index": index, "image": torch.zeros(3, 9, 9)} for index in range(count)])
    with pytest.raises(UserError, match=says):
        metric.evaluate(count)
    metric_of().prepare(None, 20)


def test_a_part_of_the_score_has_at_least_two_images():
    assert inception_score(200 * torch.eye(4))["IS"] == pytest.approx(2)


@pytest.mark.parametrize(("count", "real"), [(1, 50), (50, 3)])
def test_neighbours_and_kernel_of_few_are_refused(count, real):
    with pytest.raises(UserError, match=f"KID of {count} generated and {real} real images have no meaning"):
        neighbours_and_kernel(torch.randn(count, 4), torch.randn(real, 4))


def test_equal_sets_are_all_among_each_other_and_far_ones_not():
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))[torch.arange(40) // 2] + 100  # each twice
    found = neighbours_and_kernel(features, features)
    assert (found["precision"], found["recall"]) == (1, 1)
    far = neighbours_and_kernel(features, features + 1000)
    assert (far["precision"], far["recall"]) == (0, 0)


def test_the_distance_falls_with_the_number_of_images():
    """Why the name tells it."""
    features = torch.randn(20000, 16, generator=torch.Generator().manual_seed(0))
    truth = Moments().add(features[10000:]).gaussian()
    few, many = (frechet_distance(Moments().add(features[:n]).gaussian(), truth) for n in (100, 10000))
    assert few > 20 * many

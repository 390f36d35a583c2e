"""The networks that judge images: what they see, and what is told when they can't be had."""

import itertools

import numpy as np
import pytest
import timm
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_features import inception, inception_weights
from tiny_text import saved

from jepa_t.errors import UserError
from jepa_t.evaluation.clip_score import CLIPScoreMetric
from jepa_t.evaluation.features import (
    CELLS,
    DIRECTIONS,
    CLIPFeatures,
    DINOv2Features,
    GradientHistograms,
    extract,
    resized,
)
from jepa_t.model import JEPAT
from jepa_t.registry import FEATURES, METRICS, build

DINO = "vit_tiny_patch16_224"


def random_images(count, height=20, width=20, seed=0):
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=tiny.generator(seed))


@pytest.fixture(scope="module")
def network():
    return build(inception(), FEATURES)


def test_the_spatial_features_are_adm_s(network):
    """TensorFlow's order: height, width, channel; the first 7 channels after the ReLU of mixed_6/conv."""
    seen = {}
    branch = network.network.Mixed_6d.branch1x1
    handle = branch.register_forward_hook(lambda _module, _inputs, output: seen.update(output=output))
    spatial = network(random_images(2))["spatial"].reshape(2, 3, 3, 7)
    handle.remove()
    assert seen["output"].min() == 0 < spatial.max()
    for row, column, channel in itertools.product(range(3), range(3), range(7)):
        assert torch.equal(spatial[:, row, column, channel], seen["output"][:, channel, row, column])


def test_autocast_does_not_reach_the_features(network):
    plain = network(random_images(3))
    with torch.autocast("cpu", torch.bfloat16):
        inside = network(random_images(3))
    for name, value in plain.items():
        assert value.dtype == torch.float32
        assert torch.equal(inside[name], value)


def test_tf32_does_not_reach_the_features_and_comes_back(network):
    precision, found = torch.get_float32_matmul_precision, []
    handle = network.network.register_forward_hook(lambda *_: found.append(precision()))
    torch.set_float32_matmul_precision("high")
    try:
        network(random_images(1))
        assert (found, precision()) == (["highest"], "high")
    finally:
        handle.remove()
        torch.set_float32_matmul_precision("highest")


def test_images_of_several_sizes_keep_their_order(network):
    mixed = [*random_images(2), *random_images(2, 30, 10), *random_images(1, seed=1)]
    found = extract(network, mixed)
    for row, image in enumerate(mixed):
        torch.testing.assert_close(found["features"][row], network(image[None])["features"][0])


def test_inception_s_mistakes_are_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown InceptionFeatures layer '1024'"):
        build(inception("1024"), FEATURES)
    with pytest.raises(UserError, match="doesn't exist"):
        build(inception() | {"weights": str(tmp_path / "absent.pth")}, FEATURES)
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"can't be loaded: .*state_dict"):
        build(inception() | {"weights": str(tmp_path / "other.pth")}, FEATURES)
    torch.save(torch.nn.Linear(1, 1), tmp_path / "code.pth")
    with pytest.raises(UserError, match="refused: it calls"):
        build(inception() | {"weights": str(tmp_path / "code.pth")}, FEATURES)


def test_offline_the_download_says_what_to_fetch(tmp_path, monkeypatch):
    def fail(url, path, sha256, progress):
        assert (sha256, progress) == ("6726825d", False)
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(UserError, match=r"no route to host.*fetch https://.*6726825d\.pth .*features.weights"):
        build(inception() | {"weights": None}, FEATURES)

    def succeed(url, path, sha256, progress):
        torch.save(torch.load(inception_weights()), path)

    monkeypatch.setattr("torch.hub.download_url_to_file", succeed)
    build(inception() | {"weights": None}, FEATURES)
    assert [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()] == [
        "weights-inception-2015-12-05-6726825d.pth"
    ]


@pytest.mark.parametrize(("height", "width"), [(20, 20), (20, 40), (37, 16), (7, 9)])
def test_resizing_is_pil_s(height, width):
    image = (tiny.smooth_images(1, (height, width))[0] * 100 + 128).to(torch.uint8)  # nothing overshoots
    scale = 14 / min(height, width)
    shape = max(round(width * scale), 14), max(round(height * scale), 14)
    expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(shape, Image.Resampling.BICUBIC)
    left, top = (shape[0] - 14) // 2, (shape[1] - 14) // 2
    expected = np.array(expected.crop((left, top, left + 14, top + 14)), dtype=np.float32)
    found = resized(image[None], 14, (0, 0, 0), (1, 1, 1))[0].permute(1, 2, 0) * 255
    assert np.abs(found.numpy() - expected).max() < 1.01


def test_dinov2_is_the_class_token_of_the_normalised_image(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(DINO, num_classes=0).eval()
    torch.save(model.state_dict(), tmp_path / "dino.pth")
    extractor = DINOv2Features(DINO, str(tmp_path / "dino.pth"), size=224)
    found = extractor(random_images(2, 224, 224))["features"]
    mean, std = (torch.tensor(model.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    expected = model.forward_features((random_images(2, 224, 224) / 255 - mean) / std)[:, 0]
    torch.testing.assert_close(found, model.fc_norm(expected).detach(), atol=1e-5, rtol=1e-5)
    assert (extractor.width, extractor.prefix) == (192, "DINOv2")
    options = {"features": {"type": "DINOv2Features"}, "allow_few": True}
    metric = build({"type": "DistributionMetric", **options}, METRICS)
    metric.extractor = extractor
    metric.process(None, [{"index": index, "image": image} for index, image in enumerate(random_images(5))])
    (generated,) = metric.results
    figures = metric.compute_metrics([generated, ("reference", *generated[1:])])
    assert {"DINOv2/FD-5", "DINOv2/KD", "DINOv2/precision"} < figures.keys()
    with pytest.raises(UserError, match="can't be loaded"):
        DINOv2Features("vit_small_patch16_224", str(tmp_path / "dino.pth"))


def test_the_clip_score_is_the_mean_cosine(monkeypatch):
    extractor = CLIPFeatures(saved("open_clip"))
    captions, drawn = ["a red three", "a blue five", "the green nine"], random_images(3, 40, 30)
    images, texts = extractor(drawn)["features"], extractor.texts(captions)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    metric = CLIPScoreMetric({"type": "CLIPFeatures", "model": saved("open_clip")})
    metric.extractor = extractor
    samples = [
        {"index": index, "image": image, "caption": caption}
        for index, (image, caption) in enumerate(zip(drawn, captions, strict=True))
    ]
    for part in (samples[1:], samples[:1], samples[2:]):  # the last twice, as MMEngine pads
        metric.process(None, part)
    expected = 100 * F.cosine_similarity(images, texts).clamp(min=0).mean()
    assert metric.evaluate(3)["clip_score"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["open_clip", "clip", "pooled"])
def test_the_text_encoder_that_conditioned_the_model_may_not_judge(kind):
    own, model = ("HFText", "clip") if kind == "clip" else ("OpenCLIPText", "open_clip")
    options = {"type": own, "model": saved(model), "length": tiny.LENGTH + 2, "cache": None}
    options |= {"type": "PooledText", "width": 12} if kind == "pooled" else {}
    text_tokenizer = build(options, tiny.TOKENIZERS)
    judge = CLIPFeatures(saved("open_clip"))
    if kind == "clip":  # the same weights in another library's layout
        text_tokenizer.tower.encoder.get_parameter(
            _table(text_tokenizer.tower.encoder)
        ).data = judge.network.text.token_embedding.weight.data.clone()
    metric = CLIPScoreMetric({"type": "CLIPFeatures", "model": saved("open_clip")})
    metric.extractor = judge
    with pytest.raises(UserError, match="the model was conditioned on this text encoder"):
        metric.prepare(_Model(text_tokenizer), 3)
    metric.extractor = CLIPFeatures(saved("open_clip", seed=1))
    metric.prepare(_Model(text_tokenizer), 3)
    for other in (tiny.shared_model(), torch.nn.Linear(2, 2), None):  # a tokenizer that is trained alone has no text
        metric.prepare(other, 3)


def _table(module):
    return next(name for name, _ in module.named_parameters() if name.endswith("token_embedding.weight"))


class _Model(JEPAT):
    def __init__(self, text_tokenizer):
        torch.nn.Module.__init__(self)
        self.network = torch.nn.Module()
        self.network.text_tokenizer = text_tokenizer


def histograms(images):
    """Edges ``[B, DIRECTIONS, CELLS, CELLS]`` and colours ``[B, 3, CELLS, CELLS]``."""
    found = GradientHistograms()(images)["features"]
    return found.unflatten(1, (-1, CELLS, CELLS)).split([DIRECTIONS, 3], 1)


def test_an_edge_is_found_in_its_direction_and_place():
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[..., 12:] = 255  # an upright edge, whose gradient lies across
    edges, colours = histograms(image)
    assert set(edges[0].nonzero()[:, 0].tolist()) == {0}
    assert set(edges[0].nonzero()[:, 2].tolist()) == {1}
    assert colours[0, :, :, 0].max() == 0 < colours[0, :, :, 2].min() == 1
    lying, _ = histograms(image.mT)
    assert torch.equal(lying[:, DIRECTIONS // 2], edges[:, 0].mT)
    inverted, _ = histograms(255 - image)
    assert torch.equal(inverted, edges)


def test_every_edge_counts_for_two_directions_whole():
    images = random_images(2, 16, 16)
    gray = torch.ones(1, 3, 1, 1, dtype=torch.uint8) * images[:, :1]
    edges, colours = histograms(gray)
    x = torch.nn.functional.pad(gray[:, :1].float() / 255, (1, 1, 1, 1), mode="replicate")
    length = torch.hypot(x[..., 1:-1, 2:] - x[..., 1:-1, :-2], x[..., 2:, 1:-1] - x[..., :-2, 1:-1]) / 2
    torch.testing.assert_close(edges.square().sum(1), F.adaptive_avg_pool2d(length, CELLS)[:, 0])
    torch.testing.assert_close(colours[:, 0], F.adaptive_avg_pool2d(gray[:, :1] / 255, CELLS)[:, 0])


def test_gradient_histograms_are_features_like_any_other():
    extractor = build({"type": "GradientHistograms"}, FEATURES)
    assert extractor(random_images(3))["features"].shape == (3, extractor.width)
    assert len(extractor.facts["features_sha256"]) == 64

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_t.data.sets import LabelledSet
from jepa_t.errors import UserError
from jepa_t.evaluation.probes import pooled, probe, probe_model, probe_pixels
from jepa_t.model import JEPAT


class Stripes(LabelledSet):
    """Images whose first channel says one label, and of which some have no second."""

    def __init__(self, part):
        self.checked(part)
        generator = torch.Generator().manual_seed(int(part == "test"))
        self.images = torch.rand(24, 3, 8, 8, generator=generator) / 4
        kind = torch.arange(24) % 2
        self.images[:, 0] += kind[:, None, None]
        self.labels = {"kind": kind.numpy(), "some": np.where(np.arange(24) < 8, kind.numpy(), -1)}


@pytest.fixture(scope="module", params=["jepa_t", "early"])
def model(request):
    torch.manual_seed(0)
    made = JEPAT(
        image_tokenizer={"type": "PatchTokenizer", "size": (8, 8), "patch": 4},
        text_tokenizer={"type": "TransformerText", "width": 16, "depth": 1, "heads": 2, "length": 4, "vocabulary": 16},
        encoder={"type": "ContextEncoder", "depth": 1, "heads": 2, "registers": 4, "dropout": 0.5},
        predictor={"type": "Predictor", "depth": 1, "heads": 2},
        objectives={"flow": {"type": "FlowMatching", "head_width": 16, "head_depth": 1}},
        width=16,
        fusion=request.param,
    )
    made.fit(Stripes("train").images, ["red one"])
    with torch.no_grad():
        made.network.encoder.norm.weight += 0.5  # so that the two encoders differ
    return made.train()


def test_features_are_each_images_own_and_of_all_its_tokens(model):
    images = Stripes("test").images
    features = pooled(model, images)
    assert features.shape == (24, 16)
    assert np.allclose(features[3:5], pooled(model, images[3:5]), atol=1e-5)
    for token in ((0, 0), (7, 7)):
        changed = images.clone()
        changed[:, :, *token] += 1
        assert not np.allclose(features, pooled(model, changed), atol=1e-3)


def test_both_encoders_are_asked_without_dropout_and_left_as_they_were(model):
    images = Stripes("test").images
    context = pooled(model, images, "context")
    assert np.array_equal(context, pooled(model, images, "context"))
    assert not np.allclose(context, pooled(model, images, "target"), atol=1e-3)
    assert model.network.training
    assert not model.ema.training


def test_what_an_image_shows_is_found_where_it_has_the_label(model):
    train, test = Stripes("train"), Stripes("test")
    for found in (probe_model(model, train, test), probe_pixels(train, test)):
        assert {name: len(right) for name, right in found.items()} == {
            "linear/kind": 24,
            "linear/some": 8,
            "nearest/kind": 24,
            "nearest/some": 8,
        }
    assert found["linear/kind"].all()


def test_images_follow_the_model_to_its_device(model):
    """Where a model lies on a GPU, labelled images lie on the CPU; here on the device without numbers."""
    away = copy.deepcopy(model).to("meta")
    with pytest.raises(NotImplementedError, match="meta tensor"):  # only when features are brought back
        pooled(away, Stripes("test").images)


@pytest.mark.parametrize("lacking", [{"kind": np.arange(12) % 3}, {"kind": np.arange(12) % 3, "some": np.full(12, -1)}])
def test_a_label_that_one_part_lacks_is_told(lacking):
    labels, features = (
        {"kind": np.arange(12) % 3, "some": np.arange(12) % 2},
        np.random.default_rng(0).normal(size=(12, 2)),
    )
    for pair in ((labels, lacking), (lacking, labels)):
        with pytest.raises(UserError, match="can't tell the label 'some'"):
            probe(features, pair[0], features, pair[1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 100), st.floats(-10, 10))
def test_the_scale_and_origin_of_features_do_not_matter(seed, scale, shift):
    random = np.random.default_rng(seed)
    labels = {"kind": np.arange(12) % 3}
    train, test = (random.normal(size=(12, 2)) + 4 * np.eye(3)[labels["kind"]][:, :2] for _ in range(2))
    plain = probe(train, labels, test, labels)
    moved = probe(scale * train + shift, labels, scale * test + shift, labels)
    assert all(np.array_equal(plain[name], moved[name]) for name in plain)

"""The contract of the tokenizers: images to tokens and back, captions to text."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CAPTIONS,
    GRID,
    IMAGE_TOKENIZERS,
    PRETRAINED,
    SIZE,
    TEXT_TOKENIZERS,
    TOKENS,
    config,
    fitted_tokenizer,
    registered,
    smooth_images,
    tokenizer_config,
)

from jepa_t.contracts import Fitted, Vocabulary
from jepa_t.errors import UserError
from jepa_t.network import Network
from jepa_t.registry import MODELS, TOKENIZERS, build

images = pytest.mark.parametrize("name", IMAGE_TOKENIZERS)
texts = pytest.mark.parametrize("name", TEXT_TOKENIZERS)
seeds = st.integers(0, 1000)


def test_every_registered_tokenizer_is_tested_here():
    assert {*IMAGE_TOKENIZERS, *TEXT_TOKENIZERS} == set(registered(TOKENIZERS))


# Images


@images
def test_shapes_and_the_image_comes_back(name):
    tokenizer, images = fitted_tokenizer(name), smooth_images(3, seed=1)
    tokens = tokenizer.encode(images)
    assert tokenizer.grid == GRID
    assert tokens.shape == (3, TOKENS, tokenizer.channels)
    assert tokenizer.stride * GRID[0] == SIZE[0]
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == images.shape
    if name not in PRETRAINED:
        assert (decoded - images).square().mean() < 0.1 * images.var()


@images
def test_an_image_does_not_depend_on_its_batch(name):
    tokenizer, images = fitted_tokenizer(name), smooth_images(3, seed=1)
    tokens = tokenizer.encode(images)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(tokenizer.encode(images[one]), tokens[one], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokenizer.decode(tokens[one]), tokenizer.decode(tokens)[one], atol=1e-5, rtol=1e-5)


@images
def test_tokens_of_the_training_images_have_unit_variance(name):
    tokens = fitted_tokenizer(name).encode(smooth_images(256))
    assert tokens.mean().item() == pytest.approx(0.0, abs=0.02)
    assert tokens.square().mean().item() == pytest.approx(1.0, abs=0.02)


@images
def test_images_of_another_size_are_refused(name):
    with pytest.raises(UserError, match=r"the images are \[3, 6, 4\], the tokenizer takes \[3, 4, 6\]"):
        fitted_tokenizer(name).encode(torch.zeros(1, 3, 6, 4))


@images
def test_autocast_leaves_it_in_full_precision(name):
    tokenizer, images = fitted_tokenizer(name), smooth_images(3)
    tokens = tokenizer.encode(images)
    painted = tokenizer.decode(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(images), tokens)
        assert torch.equal(tokenizer.encode(images.bfloat16()), tokenizer.encode(images.bfloat16().float()))
        assert torch.equal(tokenizer.decode(tokens), painted)


@images
def test_a_model_learns_from_full_precision_tokens_under_autocast(name, monkeypatch):
    """Also where the tokenizer isn't ours, and does nothing about it."""
    model, seen, condition = build(config(image_tokenizer=tokenizer_config(name)), MODELS), [], Network.condition
    model.fit(smooth_images(64), CAPTIONS)

    def watched(self, tokens, *others):
        seen.append(tokens)
        return condition(self, tokens, *others)

    monkeypatch.setattr(Network, "condition", watched)
    images = smooth_images(3)
    for strange in (False, True):
        if strange:
            bare = type(model.image_tokenizer).encode.__wrapped__
            monkeypatch.setattr(type(model.image_tokenizer), "encode", bare)
        with torch.autocast("cpu", torch.bfloat16):
            model.loss(images, CAPTIONS[:3])
        assert torch.equal(seen[-1], model.image_tokenizer.encode(images))


# PackedTexts


@texts
def test_a_text_has_tokens_padding_and_a_pooled_vector(name):
    tokenizer = fitted_tokenizer(name)
    text = tokenizer(CAPTIONS)
    batch, length, width = text.tokens.shape
    assert (batch, width) == (len(CAPTIONS), tokenizer.width)
    assert text.valid.shape == (batch, length)
    assert text.pooled.shape == (batch, width)
    assert text.valid.any(1).all()
    assert all(x.isfinite().all() for x in (text.tokens, text.pooled))


@texts
@given(st.data())
def test_a_caption_has_the_same_features_in_any_batch(name, data):
    tokenizer = fitted_tokenizer(name)
    batch = data.draw(st.lists(st.sampled_from(CAPTIONS), min_size=1, max_size=5))
    together = tokenizer(batch)
    for row, caption in enumerate(batch):
        alone = tokenizer([caption])
        valid = alone.valid[0]
        assert torch.equal(together.valid[row], valid)
        torch.testing.assert_close(together.tokens[row][valid], alone.tokens[0][valid], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-5, rtol=1e-5)


@texts
def test_different_captions_differ_and_none_is_the_null_text(name):
    tokenizer = fitted_tokenizer(name)
    pooled = torch.cat([tokenizer(CAPTIONS).pooled, tokenizer.null(1).pooled])
    assert torch.pdist(pooled).min() > 1e-3


@texts
def test_the_order_of_the_words_matters(name):
    tokenizer = fitted_tokenizer(name)
    swapped = tokenizer(["a three left of five", "a five left of three"])
    assert (swapped.pooled[0] - swapped.pooled[1]).norm() > 1e-3
    assert (swapped.tokens[0] - swapped.tokens[1]).norm() > 1e-2


@texts
def test_the_null_text_is_a_batch_of_equal_rows_of_the_same_shape(name):
    tokenizer = fitted_tokenizer(name)
    null, text = tokenizer.null(3), tokenizer(CAPTIONS[:3])
    assert null.tokens.shape == text.tokens.shape
    assert torch.equal(null.valid[0], null.valid[2])
    assert torch.equal(null.tokens[0], null.tokens[2])
    assert torch.equal(null.pooled[:1], tokenizer.null(1).pooled)
    assert null.valid.any(1).all()


@texts
@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("\x00", "nothing to read"),
        (None, "is a text"),
        (7, "is a text"),
        ("red \ud83d", "has half a character"),
    ],
)
def test_a_caption_that_says_nothing_is_refused(name, caption, says):
    tokenizer = fitted_tokenizer(name)
    with pytest.raises(UserError, match=says):
        tokenizer(["red", caption])
    if says != "nothing to read" and isinstance(tokenizer, Fitted):
        with pytest.raises(UserError, match=says):
            tokenizer.fit(["red", caption])


@pytest.mark.parametrize("name", [name for name in TEXT_TOKENIZERS if name != "ClassEmbedding"])  # reads any length
def test_a_caption_that_is_too_long_is_refused_by_its_length(name):
    tokenizer = fitted_tokenizer(name)
    says = rf"the caption 'red red red red .*has \d+ tokens and the model reads {tokenizer.length}; shorten it"
    for read in (tokenizer, tokenizer.ids):
        with pytest.raises(UserError, match=says):
            read(["red " * (tokenizer.length + 1)])


@texts
def test_workers_are_sent_what_refuses_a_caption_without_large_weights(name):
    reader = pickle.loads(sent := pickle.dumps(fitted_tokenizer(name).reader()))
    reader(CAPTIONS[0])
    for caption in ("", "\x00", "red " * 99 if name != "ClassEmbedding" else "gold"):
        with pytest.raises(UserError):
            reader(caption)
    if name not in ("OpenCLIPText", "PooledText"):  # CLIP's own merges are 49,152
        assert len(sent) < 20_000


@texts
def test_the_ids_tell_captions_apart_without_encoding_them(name):
    tokenizer = fitted_tokenizer(name)
    ids = tokenizer.ids(CAPTIONS)
    assert ids.shape == (len(CAPTIONS), tokenizer.length)
    assert len({tuple(row) for row in ids.tolist()}) == len(CAPTIONS)
    assert tokenizer.ids([]).shape == (0, tokenizer.length)


@texts
@given(st.text(max_size=3))
def test_any_unicode_is_read_or_refused(name, caption):
    try:
        text = fitted_tokenizer(name)([caption])
    except UserError:
        return
    assert text.tokens.isfinite().all()
    assert 1 <= text.valid.sum() <= text.valid.shape[1]


@texts
def test_an_emoji_is_an_unknown_word_like_another(name):
    tokenizer = fitted_tokenizer(name)
    text = tokenizer(["\N{CAT FACE}"])
    assert text.tokens.isfinite().all()
    if isinstance(tokenizer, Vocabulary):  # else its vocabulary has no end
        assert tokenizer.unknown_words("red \N{CAT FACE} three") == ["\N{CAT FACE}"]

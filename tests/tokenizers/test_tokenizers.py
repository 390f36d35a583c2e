"""The contract of the tokenizers: images to tokens and back, captions to text."""

import itertools
import math

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
    float64,
    generator,
    gradients,
    make_tokenizer,
    random_images,
    randomise,
    registered,
    smooth_images,
    tokenizer_config,
)

from jepa_t import PatchTokenizer, TransformerText
from jepa_t.errors import UserError
from jepa_t.model import Network
from jepa_t.registry import MODELS, TOKENIZERS, build

images = pytest.mark.parametrize("name", IMAGE_TOKENIZERS)
texts = pytest.mark.parametrize("name", TEXT_TOKENIZERS)
seeds = st.integers(0, 1000)


def test_every_registered_tokenizer_is_tested_here():
    assert {*IMAGE_TOKENIZERS, *TEXT_TOKENIZERS} == set(registered(TOKENIZERS))


def fitted(name, **options):
    tokenizer = make_tokenizer(name, **options)
    if not getattr(tokenizer, "fitted", True):
        tokenizer.fit(smooth_images(256) if name in IMAGE_TOKENIZERS else CAPTIONS)
    return tokenizer


# Images


@images
def test_shapes_and_the_image_comes_back(name):
    tokenizer, pictures = fitted(name), smooth_images(3, seed=1)
    tokens = tokenizer.encode(pictures)
    assert tokenizer.grid == GRID
    assert tokens.shape == (3, TOKENS, tokenizer.channels)
    assert tokenizer.stride * GRID[0] == SIZE[0]
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == pictures.shape
    if name not in PRETRAINED:
        assert (decoded - pictures).square().mean() < 0.1 * pictures.var()


@images
def test_an_image_does_not_depend_on_its_batch(name):
    tokenizer, pictures = fitted(name), smooth_images(3, seed=1)
    tokens = tokenizer.encode(pictures)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(tokenizer.encode(pictures[one]), tokens[one], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokenizer.decode(tokens[one]), tokenizer.decode(tokens)[one], atol=1e-5, rtol=1e-5)


@images
def test_tokens_of_the_training_images_have_unit_variance(name):
    tokens = fitted(name).encode(smooth_images(256))
    assert tokens.mean().item() == pytest.approx(0.0, abs=0.02)
    assert tokens.square().mean().item() == pytest.approx(1.0, abs=0.02)


@images
def test_images_of_another_size_are_refused(name):
    with pytest.raises(UserError, match=r"the images are \[3, 6, 4\], the tokenizer takes \[3, 4, 6\]"):
        fitted(name).encode(torch.zeros(1, 3, 6, 4))


@given(
    seed=seeds,
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    patch=st.integers(1, 3),
    fit=st.booleans(),
    whiten=st.booleans(),
)
@float64()
def test_patches_and_all_components_are_exactly_invertible(seed, grid, patch, fit, whiten):
    size = grid[0] * patch, grid[1] * patch
    tokenizer = PatchTokenizer(size, patch, whiten=whiten)
    if fit:
        tokenizer.fit(smooth_images(40, size, seed))
    pictures = torch.rand(2, 3, *size, generator=generator(seed)) * 2 - 1
    tokens = tokenizer.encode(pictures)
    assert tokens.shape == (2, grid[0] * grid[1], 3 * patch * patch)
    torch.testing.assert_close(tokenizer.decode(tokens), pictures, atol=1e-6, rtol=0)


@given(seed=seeds, row=st.integers(0, 3), column=st.integers(0, 5))
def test_a_pixel_belongs_to_one_token_in_row_major_order(seed, row, column):
    tokenizer = fitted("PatchTokenizer")
    before = random_images(1, seed)
    after = before.clone()
    after[0, :, row, column] += 0.5
    changed = (tokenizer.encode(after) != tokenizer.encode(before)).any(-1)
    assert changed[0].nonzero().flatten().tolist() == [row // 2 * GRID[1] + column // 2]


@pytest.mark.parametrize("whiten", [False, True])
def test_more_components_are_never_worse_and_the_best_come_first(whiten):
    pictures, errors = smooth_images(256), []
    for channels in range(1, 13):
        tokenizer = fitted("PatchTokenizer", channels=channels, whiten=whiten)
        tokens = tokenizer.encode(pictures)
        errors.append((tokenizer.decode(tokens) - pictures).square().mean().item())
        assert tokens.square().mean().item() == pytest.approx(1.0, abs=0.01)
        if whiten:
            torch.testing.assert_close(tokens.flatten(0, 1).std(0), torch.ones(channels), atol=0.01, rtol=0)
    steps = [a - b for a, b in itertools.pairwise(errors)]
    assert min(steps) >= -1e-7
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(steps))
    assert errors[-1] < 1e-10


@float64()
def test_without_whitening_an_error_weighs_what_it_weighs_in_pixels():
    tokenizer = PatchTokenizer(SIZE, 2)
    tokenizer.fit(smooth_images(256))
    one, other = tokenizer.encode(smooth_images(2, seed=3)), tokenizer.encode(smooth_images(2, seed=4))
    distances = [
        (a - b).norm() / (tokenizer.decode(a) - tokenizer.decode(b)).norm()
        for a, b in ((one, other), (one[:1], one[1:]), (one, one + 1.0))
    ]
    torch.testing.assert_close(torch.stack(distances), distances[0].expand(3))


@pytest.mark.parametrize("whiten", [False, True])
def test_images_that_never_vary_give_finite_tokens(whiten):
    tokenizer = PatchTokenizer(SIZE, 2, whiten=whiten)
    tokenizer.fit(torch.full((8, 3, *SIZE), 0.5))
    pictures = torch.full((1, 3, *SIZE), 0.5)
    assert tokenizer.encode(pictures).isfinite().all()
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(pictures)), pictures)


def test_a_fit_survives_saving_and_loading():
    tokenizer = fitted("PatchTokenizer", channels=5)
    other = make_tokenizer("PatchTokenizer", channels=5)
    assert not other.fitted
    other.load_state_dict(tokenizer.state_dict())
    assert other.fitted
    pictures = random_images(2)
    assert torch.equal(other.encode(pictures), tokenizer.encode(pictures))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patch": 4}, "tokens of 4 x 4 pixels don't divide the image size 4 x 6"),
        ({"patch": 0}, "tokens of 0 x 0 pixels"),
        ({"channels": 13}, "channels=13; a patch has 1 to 12"),
        ({"channels": 0}, "channels=0"),
        ({"chanels": 3}, "did you mean 'channels'"),
    ],
)
def test_a_wrong_patch_option_is_told(options, says):
    with pytest.raises(UserError, match=says):
        make_tokenizer("PatchTokenizer", **options)


# Texts


@texts
def test_a_text_has_tokens_padding_and_a_pooled_vector(name):
    tokenizer = fitted(name)
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
    tokenizer = fitted(name)
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
    tokenizer = fitted(name)
    pooled = torch.cat([tokenizer(CAPTIONS).pooled, tokenizer.null(1).pooled])
    assert torch.pdist(pooled).min() > 1e-3


@texts
def test_the_order_of_the_words_matters(name):
    tokenizer = fitted(name)
    swapped = tokenizer(["a three left of five", "a five left of three"])
    assert (swapped.pooled[0] - swapped.pooled[1]).norm() > 1e-3
    assert (swapped.tokens[0] - swapped.tokens[1]).norm() > 1e-2


@texts
def test_the_null_text_is_a_batch_of_equal_rows_of_the_same_shape(name):
    tokenizer = fitted(name)
    null, text = tokenizer.null(3), tokenizer(CAPTIONS[:3])
    assert null.tokens.shape == text.tokens.shape
    assert torch.equal(null.valid[0], null.valid[2])
    assert torch.equal(null.tokens[0], null.tokens[2])
    assert torch.equal(null.pooled[:1], tokenizer.null(1).pooled)
    assert null.valid.any(1).all()


@texts
@pytest.mark.parametrize(
    ("caption", "says"),
    [("", "is empty"), ("   ", "is empty"), ("\x00", "nothing to read"), (None, "is a text"), (7, "is a text")],
)
def test_a_caption_that_says_nothing_is_refused(name, caption, says):
    tokenizer = fitted(name)
    with pytest.raises(UserError, match=says):
        tokenizer(["red", caption])
    if says != "nothing to read" and hasattr(tokenizer, "fit"):
        with pytest.raises(UserError, match=says):
            tokenizer.fit(["red", caption])


@pytest.mark.parametrize("name", [name for name in TEXT_TOKENIZERS if name != "ClassEmbedding"])  # reads any length
def test_a_caption_that_is_too_long_is_refused_by_its_length(name):
    tokenizer = fitted(name)
    says = rf"the caption 'red red red red .*has \d+ tokens and the model reads {tokenizer.length}; shorten it"
    for read in (tokenizer, tokenizer.ids):
        with pytest.raises(UserError, match=says):
            read(["red " * (tokenizer.length + 1)])


@texts
def test_the_ids_tell_captions_apart_without_encoding_them(name):
    tokenizer = fitted(name)
    ids = tokenizer.ids(CAPTIONS)
    assert ids.shape == (len(CAPTIONS), tokenizer.length)
    assert len({tuple(row) for row in ids.tolist()}) == len(CAPTIONS)
    assert tokenizer.ids([]).shape == (0, tokenizer.length)


@texts
@given(st.text(max_size=3))
def test_any_unicode_is_read_or_refused(name, caption):
    try:
        text = fitted(name)([caption])
    except UserError:
        return
    assert text.tokens.isfinite().all()
    assert 1 <= text.valid.sum() <= text.valid.shape[1]


@texts
def test_an_emoji_is_an_unknown_word_like_another(name):
    tokenizer = fitted(name)
    text = tokenizer(["\N{CAT FACE}"])
    assert text.tokens.isfinite().all()
    if hasattr(tokenizer, "unknown_words"):  # else its vocabulary has no end
        assert tokenizer.unknown_words("red \N{CAT FACE} three") == ["\N{CAT FACE}"]


# TransformerText


def test_what_lies_under_the_padding_never_matters():
    tokenizer = randomise(fitted("TransformerText"))
    before = tokenizer(["red three"])
    with torch.no_grad():
        tokenizer.words[0] += 10.0  # the row of the padding
        tokenizer.positions[2:] += 10.0
    after = tokenizer(["red three"])
    assert torch.equal(before.tokens[:, :2], after.tokens[:, :2])
    torch.testing.assert_close(before.pooled, after.pooled)


def test_a_longer_model_reads_the_same_in_a_short_caption():
    short, long = fitted("TransformerText"), fitted("TransformerText", length=9)
    state = randomise(short).state_dict()
    state["positions"] = torch.cat([state["positions"], torch.randn(3, short.width)])
    long.load_state_dict(state)
    one, other = short(CAPTIONS), long(CAPTIONS)
    torch.testing.assert_close(one.pooled, other.pooled)
    torch.testing.assert_close(one.tokens[one.valid], other.tokens[other.valid])


def test_pooled_is_the_mean_of_the_words():
    text = randomise(fitted("TransformerText"))(CAPTIONS)
    for row in range(len(CAPTIONS)):
        torch.testing.assert_close(text.pooled[row], text.tokens[row][text.valid[row]].mean(0))


def test_every_parameter_of_the_text_learns():
    tokenizer = randomise(fitted("TransformerText"))
    text, null = tokenizer(CAPTIONS), tokenizer.null(2)
    (text.tokens[text.valid].square().sum() + text.pooled.square().sum() + null.pooled.square().sum()).backward()
    found = gradients(tokenizer)
    assert min(found.values()) > 1e-6, found
    learned = tokenizer.words.grad.abs().sum(1) > 0
    known = int((tokenizer.clip_ids >= 0).sum())
    assert learned[1]  # the null text
    assert learned[3 : 3 + known].all()
    assert not learned[3 + known :].any()


def test_the_most_frequent_byte_pairs_are_kept_and_the_rest_named(caplog):
    tokenizer = TransformerText(width=8, depth=0, length=4, vocabulary=2)
    tokenizer.fit(["red three", "red five", "blue five"])
    assert "4 different byte pairs, the vocabulary keeps 2" in caplog.text
    assert tokenizer.unknown_words("red blue five three") == ["blue", "three"]
    ids = tokenizer.ids(["red five", "blue three", "five red"]).tolist()
    assert ids[1] == [2, 2, 0, 0]
    assert sorted(ids[0]) == [0, 0, 3, 4]
    assert ids[2] == [ids[0][1], ids[0][0], 0, 0]


def test_a_vocabulary_survives_saving_and_loading_and_replaces_what_was_remembered():
    tokenizer, other = fitted("TransformerText"), make_tokenizer("TransformerText")
    assert tokenizer.fitted
    assert not other.fitted
    before = other.ids(["red three"]).tolist()
    other.load_state_dict(tokenizer.state_dict())
    assert other.fitted
    assert other.ids(["red three"]).tolist() == tokenizer.ids(["red three"]).tolist() != before
    assert torch.equal(other(CAPTIONS).tokens, tokenizer(CAPTIONS).tokens)


def test_fitting_again_replaces_what_was_remembered():
    tokenizer = fitted("TransformerText")
    before = tokenizer.ids(["red three"]).tolist()
    tokenizer.fit(["three three", "green"])
    assert tokenizer.ids(["red three"]).tolist()[0][0] == 2  # unknown now
    assert tokenizer.ids(["red three"]).tolist() != before


@pytest.mark.parametrize(
    ("change", "value"),
    [("depth", 0), ("depth", 2), ("heads", 4), ("length", 8), ("vocabulary", 3), ("width", 16)],
)
def test_each_option_changes_something(change, value):
    def measure(**options):
        torch.manual_seed(0)
        text = randomise(fitted("TransformerText", **options))(["white two"])
        return math.prod(text.tokens.shape), text.pooled.sum().item()

    assert measure() != measure(**{change: value})


def test_dropout_of_the_text_acts_in_training_only():
    tokenizer = fitted("TransformerText", dropout=0.5)
    assert not torch.equal(tokenizer(["red"]).pooled, tokenizer(["red"]).pooled)
    tokenizer.eval()
    assert torch.equal(tokenizer(["red"]).pooled, tokenizer(["red"]).pooled)


@pytest.mark.parametrize("options", [{"length": 0}, {"vocabulary": 0}])
def test_a_wrong_text_option_is_told(options):
    with pytest.raises(UserError, match="must be at least 1"):
        make_tokenizer("TransformerText", **options)


@images
def test_autocast_leaves_it_in_full_precision(name):
    tokenizer, pictures = fitted(name), smooth_images(3)
    tokens = tokenizer.encode(pictures)
    painted = tokenizer.decode(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(pictures), tokens)
        assert torch.equal(tokenizer.encode(pictures.bfloat16()), tokenizer.encode(pictures.bfloat16().float()))
        assert torch.equal(tokenizer.decode(tokens), painted)


@images
def test_a_model_learns_from_full_precision_tokens_under_autocast(name, monkeypatch):
    """Also where the tokenizer isn't ours, and does nothing about it."""
    model, seen, condition = build(config(image_tokenizer=tokenizer_config(name)), MODELS), [], Network.condition
    model.fit(smooth_images(64), CAPTIONS)

    def watched(self, tokens, split, text):
        seen.append(tokens)
        return condition(self, tokens, split, text)

    monkeypatch.setattr(Network, "condition", watched)
    pictures = smooth_images(3)
    for strange in (False, True):
        if strange:
            bare = type(model.image_tokenizer).encode.__wrapped__
            monkeypatch.setattr(type(model.image_tokenizer), "encode", bare)
        with torch.autocast("cpu", torch.bfloat16):
            model.loss(pictures, CAPTIONS[:3])
        assert torch.equal(seen[-1], model.image_tokenizer.encode(pictures))

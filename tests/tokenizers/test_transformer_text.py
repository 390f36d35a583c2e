"""TransformerText: words, positions, and a vocabulary that is learned and kept."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import CAPTIONS, fitted_tokenizer, gradients, make_model, make_tokenizer, random_images, randomise

from jepa_t import TransformerText
from jepa_t.errors import UserError
from jepa_t.tokenizers import transformer_text
from jepa_t.tokenizers.encoding import fit_tokenizers
from jepa_t.tokenizers.transformer_text import byte_pairs


def test_what_lies_under_the_padding_never_matters():
    tokenizer = randomise(fitted_tokenizer("TransformerText"))
    before = tokenizer(["red three"])
    with torch.no_grad():
        tokenizer.words[0] += 10.0  # the row of the padding
        tokenizer.positions[2:] += 10.0
    after = tokenizer(["red three"])
    assert torch.equal(before.tokens[:, :2], after.tokens[:, :2])
    torch.testing.assert_close(before.pooled, after.pooled)


def test_a_longer_model_reads_the_same_in_a_short_caption():
    short, long = fitted_tokenizer("TransformerText"), fitted_tokenizer("TransformerText", length=9)
    state = randomise(short).state_dict()
    state["positions"] = torch.cat([state["positions"], torch.randn(3, short.width)])
    long.load_state_dict(state)
    one, other = short(CAPTIONS), long(CAPTIONS)
    torch.testing.assert_close(one.pooled, other.pooled)
    torch.testing.assert_close(one.tokens[one.valid], other.tokens[other.valid])


def test_pooled_is_the_mean_of_the_words():
    text = randomise(fitted_tokenizer("TransformerText"))(CAPTIONS)
    for row in range(len(CAPTIONS)):
        torch.testing.assert_close(text.pooled[row], text.tokens[row][text.valid[row]].mean(0))


def test_every_parameter_of_the_text_learns():
    tokenizer = randomise(fitted_tokenizer("TransformerText"))
    text, null = tokenizer(CAPTIONS), tokenizer.null(2)
    (text.tokens[text.valid].square().sum() + text.pooled.square().sum() + null.pooled.square().sum()).backward()
    found = gradients(tokenizer)
    assert min(found.values()) > 1e-6, found
    learned = tokenizer.words.grad.abs().sum(1) > 0
    known = int((tokenizer.clip_ids >= 0).sum())
    assert learned[1]  # the null text
    assert learned[3 : 3 + known].all()
    assert not learned[3 + known :].any()


def test_the_most_frequent_byte_pairs_are_kept_and_the_rest_named_once(caplog):
    """Where they are more than a tenth of what the captions say, it is refused."""
    captions = ["red five"] * 10 + ["blue three"]
    tokenizer, ema = (TransformerText(width=8, depth=0, length=4, vocabulary=2) for _ in range(2))
    fit_tokenizers(make_tokenizer("PatchTokenizer"), [tokenizer, ema], random_images(64), captions)
    (said,) = (record.message for record in caplog.records)
    assert "vocabulary=2 is too small: the captions have 4 different byte pairs, and 9.1%" in said
    assert tokenizer.clip_ids.equal(ema.clip_ids)
    with pytest.raises(UserError, match=r"vocabulary=2 is too small: .* and 16\.7% .*; 4 keeps all"):
        tokenizer.fit(captions[5:])
    assert tokenizer.unknown_words("red blue five three") == ["blue", "three"]
    ids = tokenizer.ids(["red five", "blue three", "five red"]).tolist()
    assert ids[1] == [2, 2, 0, 0]
    assert sorted(ids[0]) == [0, 0, 3, 4]
    assert ids[2] == [ids[0][1], ids[0][0], 0, 0]


def test_hyphenated_words_that_training_shows_are_read_whole():
    """Others are read as their parts, and what has no hyphen as ever."""
    parts, whole = (TransformerText(width=8, depth=0, length=8, vocabulary=9, hyphenated=it) for it in (False, True))
    for tokenizer in (parts, whole):
        tokenizer.fit(["dark skin", "medium-dark skin", "light skin"])
    first, second = (tokenizer.ids(["dark skin", "Medium-dark skin"]).tolist() for tokenizer in (parts, whole))
    assert set(first[0]) <= set(first[1])
    assert [len(set(row) - {0}) for row in first + second] == [2, 4, 2, 2]
    assert second[0][1] == second[1][1]
    assert second[0][0] not in second[1]
    assert len(set(whole.ids(["dark-light skin"])[0].tolist()) - {0}) == 4
    assert whole.unknown_words("medium-dark dark-light medium") == ["dark-light", "medium"]
    assert whole.word_spans("medium-dark, dark-light") == [("medium-dark,", range(2)), ("dark-light", range(2, 5))]
    other = TransformerText(width=8, depth=0, length=8, vocabulary=9, hyphenated=True)
    other.load_state_dict(whole.state_dict())
    assert other.ids(["medium-dark skin"]).equal(whole.ids(["medium-dark skin"]))


@example("women's-cut hair")
@example("b-__!.t")
@given(st.text("abst1'’-_. é&;!$", min_size=1, max_size=14).filter(str.strip))
def test_whole_words_are_never_more_than_their_parts(caption):
    """Whether they are known or not: as many byte pairs are room enough for a caption."""
    tokenizer = TransformerText(width=8, depth=0, length=64, vocabulary=4, hyphenated=True)
    for known in (None, set()):
        assert len(tokenizer._units(caption, known)) <= len(byte_pairs().encode(caption))


def test_what_is_remembered_of_captions_is_bounded(monkeypatch):
    monkeypatch.setattr(transformer_text, "REMEMBERED", 3)
    tokenizer = fitted_tokenizer("TransformerText")
    first = tokenizer.ids(CAPTIONS[:4])
    assert tokenizer.ids([CAPTIONS[4], CAPTIONS[0]])[1].equal(first[0])
    assert list(tokenizer._cache) == [CAPTIONS[4], CAPTIONS[0]]


def test_a_vocabulary_survives_saving_and_loading_and_replaces_what_was_remembered():
    tokenizer, other = fitted_tokenizer("TransformerText"), make_tokenizer("TransformerText")
    assert tokenizer.fitted
    assert not other.fitted
    before = other.ids(["red three"]).tolist()
    other.load_state_dict(tokenizer.state_dict())
    assert other.fitted
    assert other.ids(["red three"]).tolist() == tokenizer.ids(["red three"]).tolist() != before
    assert torch.equal(other(CAPTIONS).tokens, tokenizer(CAPTIONS).tokens)


def test_words_that_a_trained_vocabulary_lacks_are_told_when_a_training_goes_on_with_it(caplog):
    model = make_model()
    model.fit(None, CAPTIONS)
    assert not caplog.records
    model.fit(None, [*CAPTIONS, "a purple heart", "a purple three", "a purple three"])
    told = "2 of 14 different captions have words that the trained text tokenizer doesn't know, such as 'purple'"
    assert told in caplog.text


def test_fitting_again_replaces_what_was_remembered():
    tokenizer = fitted_tokenizer("TransformerText")
    before = tokenizer.ids(["red three"]).tolist()
    tokenizer.fit(["three three", "green"])
    assert tokenizer.ids(["red three"]).tolist()[0][0] == 2  # unknown now
    assert tokenizer.ids(["red three"]).tolist() != before


@pytest.mark.parametrize(
    ("change", "value"), [("depth", 0), ("depth", 2), ("heads", 4), ("length", 8), ("vocabulary", 32), ("width", 16)]
)
def test_each_option_changes_something(change, value):
    def measure(**options):
        torch.manual_seed(0)
        text = randomise(fitted_tokenizer("TransformerText", **options))(["white two"])
        return math.prod(text.tokens.shape), text.pooled.sum().item()

    assert measure() != measure(**{change: value})


def test_dropout_of_the_text_acts_in_training_only():
    tokenizer = fitted_tokenizer("TransformerText", dropout=0.5)
    assert not torch.equal(tokenizer(["red"]).pooled, tokenizer(["red"]).pooled)
    tokenizer.eval()
    assert torch.equal(tokenizer(["red"]).pooled, tokenizer(["red"]).pooled)


@pytest.mark.parametrize("options", [{"length": 0}, {"vocabulary": 0}])
def test_a_wrong_text_option_is_told(options):
    with pytest.raises(UserError, match="must be at least 1"):
        make_tokenizer("TransformerText", **options)

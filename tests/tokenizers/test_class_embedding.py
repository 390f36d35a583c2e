"""Captions that name a class."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from jepa_t.data import Captions
from jepa_t.errors import UserError
from jepa_t.tokenizers import ClassEmbedding

IMAGENET, CAPTIONS = ClassEmbedding("imagenet", 4), Captions("imagenet", "imagenet")
SHARED = {657: "missile", 836: "sunglasses"}  # two labels each; the first is meant


@example(label=744, template="a photo of a {}.", upper=False)
@given(label=st.integers(0, 999), template=st.sampled_from(CAPTIONS.templates), upper=st.booleans())
def test_every_class_is_found_in_every_sentence(label, template, upper):
    (name,) = CAPTIONS.names[label]
    sentence = template.replace("{}", name.upper() if upper else name)
    first = min((number for number, shared in SHARED.items() if shared == name), default=label)
    for caption in (name, sentence, f'"{name}."', str(label)):
        expected = label if caption.isdigit() else first
        assert IMAGENET.ids([caption]).tolist() == [[expected]]


def test_a_class_has_its_vector_and_none_has_the_null_one():
    text = IMAGENET(["goldfish", "a photo of a tench", "1"])
    assert torch.equal(text.pooled, IMAGENET.classes[[1, 0, 1]])
    assert torch.equal(text.tokens[:, 0], text.pooled)
    assert torch.equal(IMAGENET.null(2).pooled, IMAGENET.null_class.expand(2, -1))


def test_several_names_of_a_class_mean_the_same_and_the_longest_is_meant():
    tokenizer = ClassEmbedding([["shark", "sea dog"], "great white shark"], 4)
    captions = ["a shark", "two sea dog", "a great white shark", "a shark, a sea dog"]
    assert tokenizer.ids(captions).flatten().tolist() == [0, 0, 1, 0]


def test_a_name_goes_before_a_label():
    tokenizer = ClassEmbedding(["1", "7", "two"], 4)
    assert tokenizer.ids(["1", "7", "2", "a 1", "0"]).flatten().tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("goldfsh", "unknown class in the caption 'goldfsh': did you mean 'goldfish'"),
        ("a tench beside a goldfish", "names 'tench' and 'goldfish'; name one class"),
        ("1000", "unknown class"),
        ("-1", "unknown class"),
        ("...", "nothing to read"),
    ],
)
def test_a_caption_of_no_class_or_of_two_is_told(caption, says):
    with pytest.raises(UserError, match=says) as told:
        IMAGENET([caption])
    assert "\n" not in str(told.value)

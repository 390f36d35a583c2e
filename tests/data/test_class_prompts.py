"""Prompts of classes: balanced, the same for every count, each with its own seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.data import Captions, ClassPrompts
from jepa_t.errors import UserError

NAMES = ["tench", ["goldfish", "carp"], "shark"]
TEMPLATES = ["a photo of a {}", "a {}"]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_prompts_are_balanced_and_do_not_depend_on_their_number(count, other, seed):
    prompts, more = (ClassPrompts(n, NAMES, TEMPLATES, seed) for n in (count, count + other))
    batch = prompts.__getitems__(list(range(count)))
    samples = batch["data_samples"]
    assert batch["inputs"] is None
    assert samples["index"] == list(range(count))
    assert len(prompts) == count
    assert samples["label"] == [index % 3 for index in range(count)]
    assert (
        samples["caption"]
        == more.captions[:count]
        == Captions(NAMES, TEMPLATES, seed)(samples["label"], samples["index"])
    )
    numbers = Counter(dict.fromkeys(range(3), 0)) + Counter(samples["label"])
    assert max(numbers.values()) - min(numbers.get(label, 0) for label in range(3)) <= 1


def test_imagenet_by_default():
    prompts = ClassPrompts(2000)
    assert prompts.classes == 1000
    assert prompts.captions[1000] == prompts.captions[0] == "a photo of a tench"
    assert prompts.__getitems__([5, 1999])["data_samples"]["label"] == [5, 999]
    assert len(ClassPrompts()) == 50_000


def test_mistakes_are_told():
    with pytest.raises(UserError, match="ClassPrompts count is 0"):
        ClassPrompts(0)
    with pytest.raises(UserError, match="names"):
        ClassPrompts(3, names=[])

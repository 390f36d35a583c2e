"""Laws of the inked digits: splits don't overlap, scenes depend on nothing else, captions are true."""

import hashlib
import re
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from jepa_t.data import keep_batch
from jepa_t.errors import UserError
from jepa_t.worlds.digits import DigitPrompts, InkedDigits
from jepa_t.worlds.digits.judge import judge, read
from jepa_t.worlds.digits.layouts import LAYOUTS
from jepa_t.worlds.digits.prompts import SPLITS, SYNONYMS
from jepa_t.worlds.digits.scans import load_scans, training_prefix
from jepa_t.worlds.digits.scenes import DIGITS, INKS, PAPERS, WITHHELD

WORDS = {new: old for old, new in SYNONYMS.items()}
GOLDEN = {"single": "7d75a97d5190aade", "pairs": "da063f3534660def", "stacked": "c4f6b0db18903bca"}

layouts = pytest.mark.parametrize("layout", LAYOUTS)


@cache
def training(layout: str, size: int = 3000) -> InkedDigits:
    return InkedDigits(size=size, layout=layout)


@cache
def prompts(layout: str, *splits: str) -> DigitPrompts:
    return DigitPrompts(layout, splits=splits, per_split=200)


def splits_of(layout: str) -> tuple[str, ...]:
    return SPLITS if layout == "single" else (*SPLITS, "swap")


def said(caption: str) -> dict:
    """The facts in a caption, worked out from its words alone."""
    words = [WORDS.get(word, word) for word in caption.split()]
    facts = {
        "digits": [DIGITS.index(word) for word in words if word in DIGITS],
        "inks": [word for word in words if word in INKS],
        "paper": next((word for word in words if word in PAPERS), None),
    }
    if {"right", "below"} & set(words):
        facts["digits"].reverse()
        facts["inks"].reverse()
    return facts


def withheld(facts: dict) -> list[bool]:
    return [
        bool(WITHHELD[digit, list(INKS).index(ink)]) for digit, ink in zip(facts["digits"], facts["inks"], strict=True)
    ]


@layouts
def test_images_and_captions_are_the_same_on_every_machine(layout):
    data = training(layout)
    digest = hashlib.sha256(data.images[:256].numpy().tobytes() + "\n".join(data.captions[:256]).encode())
    assert digest.hexdigest()[:16] == GOLDEN[layout]


def test_the_scans_are_split_without_overlap():
    train, held_out = load_scans()
    rows = [{scan.numpy().tobytes() for scan in part.coverage} for part in (train, held_out)]
    assert (len(train.digits), len(held_out.digits)) == (1500, 297)
    assert (len(rows[0]), len(rows[1])) == (1500, 297)
    assert not rows[0] & rows[1]


@given(st.integers(10, 1400), st.integers(0, 100))
def test_smaller_training_sets_are_balanced_and_part_of_larger_ones(scans, more):
    small, large = training_prefix(scans), training_prefix(scans + more)
    assert torch.equal(small.coverage, large.coverage[:scans])
    counts = np.bincount(small.digits, minlength=10)
    assert counts.max() - counts.min() <= 1


def test_images_show_no_more_scans_than_allowed():
    data = InkedDigits(size=12000, scans=20)
    chosen = [i for i, caption in enumerate(data.captions) if caption == "a red four on white paper"]
    assert len(chosen) > 10
    assert len(torch.unique(data.images[chosen].flatten(1), dim=0)) == 2


def test_rendering_is_fast_and_has_variety():
    load_scans()
    start = time.process_time()
    data = InkedDigits(size=24000)
    assert time.process_time() - start < 3
    assert len(torch.unique(data.images.flatten(1), dim=0)) > 14_000


def test_all_training_scans_are_used_and_no_other():
    data = InkedDigits(size=24000)
    facts = [said(caption) for caption in data.captions]
    told = [i for i, fact in enumerate(facts) if fact["paper"]]
    paper = torch.tensor([PAPERS[facts[i]["paper"]][1] for i in told])[:, None, None]
    ink = torch.tensor([INKS[facts[i]["inks"][0]][1] for i in told])[:, None, None]
    used = ((data.images[told, 1] - paper) / (ink - paper)).abs().numpy()  # exact; abs for the sign of 0
    train, held_out = ({scan.numpy().tobytes() for scan in part.coverage} for part in load_scans())
    counts = Counter(scan.tobytes() for scan in used)
    assert set(counts) <= train
    assert not set(counts) & held_out
    assert len(counts) > 1490
    assert max(counts.values()) < 30


@layouts
@given(seed=st.integers(0, 2**64), size=st.integers(1, 40), more=st.integers(1, 40))
def test_scene_i_depends_on_seed_and_i_alone(layout, seed, size, more):
    small, large = InkedDigits(size, seed, layout=layout), InkedDigits(size + more, seed, layout=layout)
    assert torch.equal(small.images, large.images[:size])
    assert small.captions == large.captions[:size]


@layouts
def test_any_order_of_access_gives_the_same_samples(layout):
    data, asked = training(layout), prompts(layout, *splits_of(layout))
    order = torch.randperm(len(asked), generator=torch.Generator().manual_seed(3)).tolist()
    batch = data.__getitems__(order)
    assert torch.equal(batch["inputs"], data.images[order])
    assert batch["data_samples"]["caption"] == [data.captions[i] for i in order]
    batch = asked.__getitems__(order)["data_samples"]
    assert batch["index"] == order
    for name, column in (("caption", asked.captions), ("split", asked.splits), ("facts", asked.facts)):
        assert batch[name] == [column[i] for i in order]


def test_another_seed_gives_other_scenes():
    assert InkedDigits(100, seed=1).captions != InkedDigits(100, seed=2).captions
    assert DigitPrompts(seed=1).captions != DigitPrompts(seed=2).captions


@layouts
def test_training_never_shows_a_withheld_composition(layout):
    shown = [withheld(said(caption)) for caption in training(layout).captions]
    assert not np.any(shown)
    assert WITHHELD.mean() == 0.2
    assert (~WITHHELD).sum(1).min() >= 4


@layouts
def test_only_unseen_prompts_ask_for_withheld_compositions(layout):
    asked = prompts(layout, *splits_of(layout))
    for split, facts in zip(asked.splits, asked.facts, strict=True):
        assert set(withheld(facts)) == {split == "unseen"}


@layouts
def test_the_held_out_prompts_use_no_unknown_word_and_no_trained_sentence(layout):
    words = {word for caption in training(layout).captions for word in caption.split()}
    for split in splits_of(layout):
        captions = prompts(layout, split).captions
        known = [set(caption.split()) <= words for caption in captions]
        assert all(known) if split != "synonym" else not any(known)

    def frames(captions):
        return {re.sub("|".join([*INKS, *DIGITS, *PAPERS]), "_", caption) for caption in captions}

    trained = frames(training(layout).captions)
    assert frames(prompts(layout, "seen").captions) <= trained
    assert not frames(prompts(layout, "paraphrase").captions) & trained


@layouts
def test_captions_say_the_facts(layout):
    asked = prompts(layout, *splits_of(layout))
    for caption, facts in zip(asked.captions, asked.facts, strict=True):
        assert said(caption) == {name: facts[name] for name in ("digits", "inks", "paper")}


@layouts
def test_training_images_show_what_their_captions_say(layout):
    data = training(layout)
    verdicts, _ = judge(data.images, [said(caption) for caption in data.captions], LAYOUTS[layout])
    assert np.mean([verdict["all"] for verdict in verdicts]) > 0.995


@pytest.mark.parametrize("layout", ["pairs", "stacked"])
def test_swap_prompts_come_in_minimal_pairs(layout):
    asked = prompts(layout, "swap")
    for one, other in zip(range(0, 200, 2), range(1, 200, 2), strict=True):
        here, there = asked.facts[one], asked.facts[other]
        assert here["group"] == there["group"] == one // 2
        assert asked.captions[one] != asked.captions[other]
        assert sorted(asked.captions[one].split()) == sorted(asked.captions[other].split())
        assert here["digits"] == there["digits"][::-1]
        assert here["inks"] == there["inks"][::-1]


def test_facts_cover_everything_that_can_be_asked():
    asked = DigitPrompts(splits=("seen",), per_split=1000)
    counts = np.bincount([facts["digits"][0] for facts in asked.facts], minlength=10)
    assert counts.min() > 60
    assert {facts["inks"][0] for facts in asked.facts} == set(INKS)
    assert {facts["paper"] for facts in asked.facts} == {*PAPERS, None}


def test_a_loader_gives_whole_batches():
    loader = DataLoader(InkedDigits(64), batch_size=32, collate_fn=keep_batch)
    batch = next(iter(loader))
    assert batch["inputs"].shape == (32, 3, 8, 8)
    assert batch["inputs"].dtype == torch.float32
    assert batch["inputs"].abs().max() <= 1
    assert len(batch["data_samples"]["caption"]) == 32
    batch = next(iter(DataLoader(DigitPrompts(), batch_size=32, collate_fn=keep_batch)))
    assert batch["inputs"] is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InkedDigits(size=0), "size=0"),
        (lambda: InkedDigits(scans=9), "scans=9"),
        (lambda: InkedDigits(scans=1501), "1500"),
        (lambda: InkedDigits(layout="pair"), "did you mean 'pairs'"),
        (lambda: DigitPrompts(layout="grid"), "single"),
        (lambda: DigitPrompts(splits=("unsen",)), "did you mean 'unseen'"),
        (lambda: DigitPrompts(splits=("swap",)), "swap"),
        (lambda: DigitPrompts(per_split=0), "per_split=0"),
        (lambda: DigitPrompts("pairs", splits=("swap",), per_split=3), "per_split=3"),
    ],
)
def test_mistakes_are_told(make, words):
    with pytest.raises(UserError, match=re.escape(words)):
        make()


def test_prompts_give_real_images_along_where_a_tokenizer_is_measured():
    asked = DigitPrompts(splits=("seen", "unseen"), per_split=20, images=True)
    batch = asked.__getitems__([3, 21])
    assert batch["inputs"].shape == (2, 3, 8, 8)
    assert torch.equal(batch["inputs"], asked.images[[3, 21]])
    _, held_out = load_scans()
    for coverage, fact in zip(read(asked.images).coverage, asked.facts, strict=True):
        distance, scan = (coverage - held_out.coverage).abs().amax((1, 2)).min(0)
        assert distance < 1e-5
        assert [held_out.digits[scan]] == fact["digits"]
    assert DigitPrompts(per_split=2).__getitems__([0])["inputs"] is None

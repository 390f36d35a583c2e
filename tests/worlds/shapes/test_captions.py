"""The data sets of ShapeScenes: golden bits, nested sets, captions that can be read back, disjoint splits."""

import hashlib
import json
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.data.hashing import Stream
from jepa_t.errors import UserError
from jepa_t.registry import DATASETS, build
from jepa_t.worlds.shapes import ShapePrompts, ShapeScenes
from jepa_t.worlds.shapes.captions import (
    COUNTS,
    SLOTS,
    SPLITS,
    SYNONYMS,
    TEMPLATES,
    TRAINED,
    contents_from,
    contents_of,
    parse,
    write,
)
from jepa_t.worlds.shapes.scenes import COLOURS, PRESETS, SHAPES, Contents, withheld_kind

ALL = dict.fromkeys(TEMPLATES, 1.0)
SEEDS = st.integers(0, 2**40)
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def content(facts):
    """What facts mean, whichever way it is said; sizes and backgrounds don't count."""
    objects = [(item["colour"], item["shape"]) for item in facts["objects"]]
    relation = facts["relation"]
    if relation in ("right of", "below"):
        objects, relation = objects[::-1], OPPOSITE[relation]
    return facts["family"], tuple(objects), facts["count"], facts["place"], relation


def bag(caption):
    return Counter(caption.split())


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tiny", "c53730d1da8da68e"),
        ("base", "c3bae1861a208358"),
        ("large", "f6e24b7503043cf9"),
    ],
)
def test_first_scenes_and_captions_are_golden(name, digest):
    data = ShapeScenes(name, size=64, seed=0)
    everything = data.pixels.numpy().tobytes() + json.dumps(data.captions).encode()
    assert hashlib.sha256(everything).hexdigest()[:16] == digest


@given(st.sampled_from(tuple(PRESETS)), SEEDS, st.integers(1, 60))
def test_smaller_sets_are_the_beginning_of_larger_ones(name, seed, size):
    small, large = (ShapeScenes(name, size=n, seed=seed, families=ALL) for n in (size, 60))
    assert torch.equal(small.pixels, large.pixels[:size])
    assert small.captions == large.captions[:size]


def test_batches_are_whole_and_of_the_asked_rows():
    data = build({"type": "ShapeScenes", "preset": "tiny", "size": 50}, DATASETS)
    assert len(data) == 50
    assert data.images.shape == (50, 3, 24, 24)
    assert data.images.dtype == torch.float32
    assert (data.images.min(), data.images.max()) == (-1, 1)
    batch = data.__getitems__([7, 3, 7])
    assert torch.equal(batch["inputs"], data.images[[7, 3, 7]])
    assert batch["data_samples"] == {"caption": [data.captions[i] for i in (7, 3, 7)]}
    assert ShapeScenes("tiny", size=50, seed=1).captions != data.captions


def test_families_come_in_the_fractions_asked_for():
    weights = {"single": 1, "located": 2, "related": 5, "counted": 0}
    data = ShapeScenes("base", size=4000, families=weights)
    found = Counter(parse(caption)["family"] for caption in data.captions)
    assert {name: round(8 * n / 4000, 1) for name, n in found.items()} == pytest.approx(
        {"single": 1, "located": 2, "related": 5}, abs=0.2
    )


def test_default_of_tiny_is_the_ablation():
    data = ShapeScenes()
    facts = [parse(caption) for caption in data.captions]
    assert len(data) == 16384
    assert data.pixels.shape[1:] == (3, 24, 24)
    assert {fact["family"] for fact in facts} == {"located", "related"}
    objects = [item for fact in facts for item in fact["objects"]]
    assert {item["colour"] for item in objects} == set(list(COLOURS)[:3])
    assert {item["shape"] for item in objects} == set(SHAPES[:3])
    assert {item["size"] for item in objects} == {None}
    assert {fact["background"] for fact in facts} == {None, "black", "white"}
    assert not {word for caption in data.captions for word in caption.split()} & set(sum(SYNONYMS.values(), ()))
    assert "a red square at the top left" in data.captions
    assert "a red circle left of a blue square" in data.captions


@st.composite
def sentences(draw):
    """A caption of any template in any words, and the facts that it states."""
    family = draw(st.sampled_from(tuple(TEMPLATES)))
    template = draw(st.sampled_from(TEMPLATES[family]))
    said = {slot: draw(st.sampled_from(words)) for slot, words in SLOTS.items()}
    forms = {slot: draw(st.sampled_from((word, *SYNONYMS[word]))) for slot, word in said.items()}
    sized = draw(st.booleans())
    phrase = {i: f"{forms[f'colour_{i}']} {forms[f'shape_{i}']}" for i in "ab"}
    if sized:
        phrase = {i: f"{forms[f'size_{i}']} {words}" for i, words in phrase.items()}
    plural = phrase["a"] + ("es" if phrase["a"][-1] in "sx" else "s")
    slots = {name: forms[name] for name in ("place", "relation", "count", "background")}
    caption = template.format(a=phrase["a"], b=phrase["b"], many=plural, **slots)
    stated = {name: said[name] if f"{{{name}}}" in template else None for name in slots}
    objects = [
        {
            "colour": said[f"colour_{i}"],
            "shape": said[f"shape_{i}"],
            "size": said[f"size_{i}"] if sized else None,
        }
        for i in ("ab" if family == "related" else "a")
    ]
    number = COUNTS.get(stated.pop("count"), len(objects))
    return caption, {"family": family, "objects": objects, "count": number, **stated}


@given(st.lists(sentences(), min_size=8, max_size=8))
def test_every_sentence_in_any_words_is_read_back(some):
    for caption, facts in some:
        assert parse(caption) == facts


@given(
    st.sampled_from([(f, s) for s, names in SPLITS.items() for f in names]),
    st.sampled_from(tuple(PRESETS)),
    SEEDS,
)
def test_written_captions_state_their_contents(pair, name, seed):
    captions, contents = write(*pair, PRESETS[name], Stream(seed, "any", np.arange(40)))
    back = contents_from([parse(caption) for caption in captions])
    for field in fields(Contents):
        assert (getattr(back, field.name) == getattr(contents, field.name)).all(), field.name
    assert all(len(caption.split()) <= 24 for caption in captions)


@given(st.text())
def test_other_text_is_refused_in_one_line(text):
    with pytest.raises(UserError, match="fits no template"):
        parse(text)


def test_articles_fit_every_word():
    for word, forms in SYNONYMS.items():
        if word in {*COLOURS, *SHAPES, *SLOTS["size_a"], *SLOTS["background"]}:
            assert not any(form[0] in "aeiou" for form in (word, *forms))


def test_two_templates_of_related_hold_the_same_words_in_opposite_roles():
    one, _, three = TEMPLATES["related"][:3]
    words = {"a": "red circle", "b": "blue square", "relation": "left of"}
    turned = {"a": "blue square", "b": "red circle", "relation": "left of"}
    assert bag(one.format(**words)) == bag(three.format(**words)) == bag(one.format(**turned))
    assert content(parse(one.format(**words))) == content(parse(three.format(**words)))
    assert content(parse(one.format(**words))) != content(parse(one.format(**turned)))
    assert [parse(t.format(**words))["objects"][0]["shape"] for t in (one, three)] == ["circle", "circle"]
    assert one.format(**words).index("circle") < one.format(**words).index("square")
    assert three.format(**words).index("circle") > three.format(**words).index("square")


@pytest.mark.parametrize("name", PRESETS)
def test_training_never_states_what_is_withheld(name):
    training = ShapeScenes(name, size=20000 if name == "tiny" else 3000, families=ALL)
    facts = [parse(caption) for caption in training.captions]
    trained = {content(fact) for fact in facts}
    unseen = [split for split in SPLITS if split.startswith("unseen") and split.split("_")[1] in
              ("binding", "place", "relation", "count")]  # fmt: skip
    contents = {}
    for split in unseen:
        prompts = ShapePrompts(name, (split,), per_split=400, families=TEMPLATES)
        contents[split] = {content(fact) for fact in prompts.facts}
        assert not contents[split] & trained, split
    for one in unseen:
        for other in unseen:
            assert one == other or not contents[one] & contents[other]
    seen = {content(fact) for fact in ShapePrompts(name, ("seen",), 400, TEMPLATES).facts}
    assert not seen & set.union(*contents.values())
    withheld = {form for forms in SYNONYMS.values() for form in forms[1].split()} - {"of", "a", "north"}
    assert not {word for caption in training.captions for word in caption.split()} & withheld
    if name == "tiny":  # few enough to be all there
        assert seen <= trained


def test_withheld_templates_and_words_are_the_only_difference():
    prompts = ShapePrompts("base", ("unseen_template", "unseen_synonym", "class_only"), 200, TEMPLATES)
    for caption, split, facts in zip(prompts.captions, prompts.splits, prompts.facts, strict=True):
        if split == "unseen_synonym":
            assert not {facts["objects"][0]["colour"], facts["objects"][0]["shape"]} & set(caption.split())
            assert SYNONYMS[facts["objects"][0]["colour"]][1] in caption
        if split == "class_only":
            assert caption == f"{facts['objects'][0]['colour']} {facts['objects'][0]['shape']}"
    start = {template.split("{")[0] for name in TEMPLATES for template in TEMPLATES[name][:TRAINED]}
    assert not any(caption.startswith("on a ") for caption in ShapeScenes("base", 2000, 0, ALL).captions)
    assert "on a " not in start
    assert any(caption.startswith("on a ") for caption in prompts.captions)


@pytest.mark.parametrize("name", PRESETS)
def test_a_fifth_is_withheld_and_half_of_it_trained_the_other_way_round(name):
    preset = PRESETS[name]

    def tuples(split):
        found = contents_of("related", split, preset)
        return {(*pair, relation) for pair, relation in zip(map(tuple, found.kinds), found.relation, strict=True)}

    seen, unseen, swap = tuples("seen"), tuples("unseen_relation"), tuples("swap")
    assert len(unseen) / len(seen | unseen) == pytest.approx(0.2, abs=0.04)
    turned = [(b, a, relation) in seen for a, b, relation in unseen]
    assert np.mean(turned) == pytest.approx(0.5, abs=0.15)
    assert unseen <= swap == {(b, a, relation) for a, b, relation in swap}
    assert all((a, b, r) in unseen or (b, a, r) in unseen for a, b, r in swap)
    # What one says of a, the other says of b: both are trained or neither is.
    for a, b, relation in unseen:
        assert (b, a, relation ^ 1) in unseen
    for family, split in (("located", "unseen_place"), ("counted", "unseen_count")):
        some, others = contents_of(family, split, preset), contents_of(family, "seen", preset)
        assert len(some.count) / (len(some.count) + len(others.count)) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("name", PRESETS)
def test_every_colour_and_shape_is_trained_although_a_diagonal_is_not(name):
    kinds = contents_of("single", "seen", PRESETS[name]).kinds[:, 0]
    novel = contents_of("single", "unseen_binding", PRESETS[name]).kinds[:, 0]
    assert withheld_kind(novel).all()
    assert not withheld_kind(kinds).any()
    assert {*(kinds // 4)} == set(range(PRESETS[name].colours))
    assert {*(kinds % 4)} == set(range(PRESETS[name].shapes))
    assert max(Counter((novel % 4).tolist()).values()) == max(Counter((novel // 4).tolist()).values()) == 1


@given(st.sampled_from(tuple(PRESETS)), SEEDS)
def test_swap_prompts_are_minimal_pairs(name, seed):
    prompts = ShapePrompts(name, ("swap",), per_split=20, seed=seed)
    for first in range(0, 20, 2):
        one, two = prompts.facts[first : first + 2]
        assert bag(prompts.captions[first]) == bag(prompts.captions[first + 1])
        assert one["objects"] == two["objects"][::-1]
        assert {**one, "objects": None} == {**two, "objects": None}
        assert one["group"] == first // 2
        assert content(one) != content(two)


def test_prompts_are_given_in_order_with_their_facts():
    prompts = build({"type": "ShapePrompts", "splits": ["seen", "swap"], "per_split": 6}, DATASETS)
    assert prompts.splits == ["seen"] * 6 + ["swap"] * 6
    assert [fact["family"] for fact in prompts.facts[:6]] == ["located", "related"] * 3
    batch = prompts.__getitems__([8, 1])
    assert batch["inputs"] is None
    samples = batch["data_samples"]
    assert samples["index"] == [8, 1]
    assert samples["split"] == ["swap", "seen"]
    assert samples["caption"] == [prompts.captions[8], prompts.captions[1]]
    assert samples["facts"] == json.loads(json.dumps([prompts.facts[8], prompts.facts[1]]))
    longer = ShapePrompts("tiny", ("seen",), per_split=20)
    assert longer.captions[:6] == prompts.captions[:6]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShapeScenes(size=0), "size=0: use 1 or more"),
        (lambda: ShapeScenes(families={"locatd": 1}), "did you mean 'located'"),
        (lambda: ShapeScenes(families={}), "families is empty"),
        (lambda: ShapeScenes(families={"single": -1, "located": 2}), "weights of 0 or more"),
        (lambda: ShapePrompts(splits=("sen",)), "did you mean 'seen'"),
        (lambda: ShapePrompts(splits=("swap",), per_split=3), "even with 'swap'"),
        (lambda: ShapePrompts(splits=("unseen_count",)), "needs a family of counted"),
    ],
)
def test_mistakes_are_told_in_one_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)

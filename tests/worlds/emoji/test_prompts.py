"""Training pairs and prompts: each a function of its number alone, of the split it claims."""

import numpy as np
import pytest
import torch

from jepa_t.errors import UserError
from jepa_t.worlds.emoji import EmojiImages, EmojiPrompts
from jepa_t.worlds.emoji.captions import captions
from jepa_t.worlds.emoji.catalogue import catalogue
from jepa_t.worlds.emoji.colours import emoji_of
from jepa_t.worlds.emoji.prompts import SPLITS

REAL = [split for split in SPLITS if split != "unseen_colour"]


@pytest.fixture(scope="module")
def images():
    return EmojiImages(size=7000, pixels=16)


def test_a_pair_depends_on_its_number_alone(images):
    fewer = EmojiImages(size=5000, pixels=16)
    assert fewer.captions == images.captions[:5000]
    assert EmojiImages(size=5000, pixels=16, seed=1).captions != fewer.captions
    batch, alone = images.__getitems__([4000, 3]), images.__getitems__([3])
    assert torch.equal(batch["inputs"][1:], alone["inputs"])
    assert batch["data_samples"]["caption"][1:] == alone["data_samples"]["caption"]


def test_an_image_comes_again_in_other_words_and_those_without_tone_twice_as_often(images):
    shown = [one for one in catalogue() if one.split == "seen"]
    assert len(images.images) == len(shown)
    assert all(images.captions[i] in captions(shown[images.rows[i]]) for i in range(0, 7000, 97))
    once = sum(1 if one.tone else 2 for one in shown)
    times = np.bincount(images.rows[:once], minlength=len(shown))
    assert times.tolist() == [1 if one.tone else 2 for one in shown]
    assert len({images.captions[i] for i in np.flatnonzero(images.rows == 5)}) > 1


def test_tokens_that_are_held_come_in_the_images_place():
    dataset = EmojiImages(size=10, pixels=8)
    tokens = torch.arange(len(dataset.images))[:, None, None].expand(-1, 4, 2)
    dataset.hold(tokens)
    assert len(dataset.images) == 10
    assert torch.equal(dataset.__getitems__([7, 2])["inputs"]["tokens"], tokens[[7, 2]])


@pytest.mark.parametrize("split", SPLITS)
def test_a_prompt_is_of_its_split_and_says_what_it_means(split):
    prompts = EmojiPrompts(splits=(split,), per_split=40)
    belongs, words = SPLITS[split]
    assert len(prompts) == 40
    for caption, fact in zip(prompts.captions, prompts.facts, strict=True):
        assert belongs(emoji_of(fact["image"]))
        assert caption in words(emoji_of(fact["image"]))
    assert len({fact["image"] for fact in prompts.facts}) == 40


def test_prompts_follow_from_the_seed_and_give_the_real_images_if_asked():
    first, other = (EmojiPrompts(splits=("seen", "objects"), per_split=3, seed=seed) for seed in (1, 2))
    assert first.captions != other.captions
    asked = EmojiPrompts(splits=("seen", "objects"), per_split=3, images=True, pixels=16)
    assert asked.captions == first.captions
    batch = asked.__getitems__([0, 5])
    assert batch["inputs"].shape == (2, 3, 16, 16)
    assert batch["data_samples"]["split"] == ["seen", "objects"]
    assert first.__getitems__([0])["inputs"] is None
    with pytest.raises(UserError, match="did you mean 'unseen_tone'"):
        EmojiPrompts(splits=("unseen_tones",))


def test_a_share_of_the_roles_has_them_whole_and_is_part_of_a_larger_share():
    def asked(share):
        return {fact["image"] for fact in EmojiPrompts(REAL, 4000, share=share).facts}

    few, more = asked(0.1), asked(0.3)
    assert few < more
    roles = {catalogue()[number].role for number in few}
    assert few == {number for number, one in enumerate(catalogue()) if one.role in roles}
    assert 0.07 < len(roles) / len({one.role for one in catalogue()}) < 0.13
    shown = EmojiImages(size=4000, pixels=8, share=0.1)
    assert len(shown.images) == sum(catalogue()[number].split == "seen" for number in few)


def test_a_wrong_share_is_told():
    for share, says in [(1.5, "EmojiImages share is 1.5; it must lie between 0 and 1"), (0, "leaves no emoji")]:
        with pytest.raises(UserError, match=says):
            EmojiImages(share=share)
    with pytest.raises(UserError, match="EmojiPrompts share is 'all'"):
        EmojiPrompts(share="all")

"""Labelled images of all worlds: labels are right, and no image is in both parts."""

import numpy as np
import pytest

from jepa_t.errors import UserError
from jepa_t.worlds.digits import LabelledDigits
from jepa_t.worlds.digits.judge import read
from jepa_t.worlds.digits.scenes import WITHHELD
from jepa_t.worlds.emoji import LabelledEmoji
from jepa_t.worlds.shapes import LabelledShapes

WORLDS = {LabelledDigits: (2000, 297), LabelledShapes: (108, 54), LabelledEmoji: (2911, 567)}


@pytest.mark.parametrize("world", WORLDS)
def test_no_image_is_in_both_parts(world):
    parts = [world(part) for part in ("train", "test")]
    assert tuple(len(part.images) for part in parts) == WORLDS[world]
    first, second = ({image.numpy().tobytes() for image in part.images} for part in parts)
    assert first.isdisjoint(second)
    for part in parts:
        assert part.images.min() >= -1
        assert part.images.max() <= 1
        assert all(len(numbers) == len(part.images) for numbers in part.labels.values())
    for numbers, asked in zip(*(part.labels.values() for part in parts), strict=True):
        assert set(asked) <= set(numbers)


@pytest.mark.parametrize("part", ["train", "test"])
def test_digits_are_labelled_as_the_judge_reads_them(part):
    data = LabelledDigits(part)
    seen = read(data.images)
    assert np.mean(seen.digits == data.labels["digit"]) > 0.97
    assert np.array_equal(seen.inks, data.labels["ink"])
    assert np.array_equal(seen.papers, data.labels["paper"])
    assert not WITHHELD[data.labels["digit"], data.labels["ink"]].any()  # else an ink would tell against the digit


def test_scenes_differ_in_what_their_labels_say():
    data = LabelledShapes("train")
    at = {}
    for image, place in zip(data.images, data.labels["place"], strict=True):
        rows, columns = np.nonzero((image != image[:, :1, :1]).any(0).numpy())
        at.setdefault(place, set()).add((int(rows.mean() // 8), int(columns.mean() // 8)))
    assert at == {place: {divmod(place, 3)} for place in range(9)}
    colours = {}
    for image, colour in zip(data.images, data.labels["colour"], strict=True):
        away = (image - image[:, :1, :1]).abs().sum(0).flatten()
        colours.setdefault(colour, set()).add(int(image.flatten(1)[:, away.argmax()].argmax()))
    assert colours == {0: {0}, 1: {1}, 2: {2}}  # red, green, blue


def test_an_unknown_part_is_told():
    with pytest.raises(UserError, match="unknown part of a labelled set 'tset': did you mean 'test'"):
        LabelledDigits("tset")

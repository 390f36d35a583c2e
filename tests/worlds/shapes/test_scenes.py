"""Scenes are pure functions of their numbers, hold what was asked, and are the same bits everywhere."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from jepa_t.data.hashing import Stream
from jepa_t.errors import UserError
from jepa_t.worlds.shapes.captions import TEMPLATES, write
from jepa_t.worlds.shapes.rendering import coverage, render, window
from jepa_t.worlds.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    PRESETS,
    RELATIONS,
    SHAPES,
    cell_of,
    complete,
    preset_named,
    relation_margin,
    withheld_kind,
)

SEEDS = st.integers(0, 2**40)
FAMILIES = st.sampled_from(tuple(TEMPLATES))
NAMES = st.sampled_from(tuple(PRESETS))


def scenes_of(preset, family, seed, index):
    """Contents and scenes of the training captions of a family."""
    _, contents = write(family, "seen", preset, Stream(seed, family, index))
    return contents, complete(contents, preset, Stream(seed, "scenes", index))


def kinds(scenes):
    return np.where(scenes.colours < 0, -1, scenes.colours * len(SHAPES) + scenes.shapes)


@given(NAMES, FAMILIES, SEEDS, st.permutations(range(20)))
def test_scene_depends_on_its_own_number_alone(name, family, seed, order):
    preset, index = PRESETS[name], np.array(order)
    _, together = scenes_of(preset, family, seed, np.arange(20))
    _, apart = scenes_of(preset, family, seed, index[:7])
    images = render(together, preset.size)
    assert (render(apart, preset.size) == images[index[:7]]).all()
    assert (images[0] != images[1:]).any()


@given(NAMES, FAMILIES, SEEDS)
def test_scenes_hold_what_contents_say(name, family, seed):
    preset = PRESETS[name]
    contents, scenes = scenes_of(preset, family, seed, np.arange(50))
    objects = (scenes.colours >= 0).sum(1)
    assert (objects >= contents.count).all()
    assert (objects <= contents.count + preset.distractors).all()
    assert (kinds(scenes)[:, 0] == contents.kinds[:, 0]).all()
    if family == "related":
        assert (kinds(scenes)[:, 1] == contents.kinds[:, 1]).all()
        assert (relation_margin(contents.relation, scenes.centres[:, 0] - scenes.centres[:, 1]) >= 1).all()
    if family == "located":
        assert (cell_of(scenes.centres[:, 0], preset.size) == contents.place).all()
    if family == "counted":
        assert ((kinds(scenes) == contents.kinds[:, :1]).sum(1) == contents.count).all()
    radii = np.array(preset.radii)
    said = contents.sizes[:, 0] >= 0
    assert (scenes.radii[said, 0] == radii[contents.sizes[said, 0]]).all()
    said = contents.background >= 0
    assert (scenes.background[said] == contents.background[said]).all()


@given(FAMILIES, SEEDS)
def test_distractors_are_of_other_and_never_of_withheld_kinds(family, seed):
    contents, scenes = scenes_of(PRESETS["large"], family, seed, np.arange(50))
    there = kinds(scenes)
    others = np.where(np.arange(there.shape[1]) >= contents.count[:, None], there, -1)
    assert not (withheld_kind(others) & (others >= 0)).any()
    for row, said in zip(others, contents.kinds, strict=True):
        extra = row[row >= 0].tolist()
        assert len(set(extra)) == len(extra)
        assert not set(extra) & set(said.tolist())


@given(st.sampled_from(["base", "large"]), FAMILIES, SEEDS)
def test_objects_are_whole_and_a_pixel_apart(name, family, seed):
    preset = PRESETS[name]
    _, scenes = scenes_of(preset, family, seed, np.arange(20))
    half = 15
    pixels, offsets = window(scenes.centres, half)
    for row in range(20):
        layers = []
        for slot in np.flatnonzero(scenes.colours[row] >= 0):
            shape, radius = scenes.shapes[row, slot : slot + 1], scenes.radii[row, slot : slot + 1]
            canvas = np.zeros((preset.size + 2 * half,) * 2)
            columns, rows = (pixels[row, slot] + half).T
            canvas[np.ix_(rows, columns)] = coverage(shape, radius, offsets[row, slot : slot + 1])[0]
            inside = canvas[half:-half, half:-half]
            assert inside.sum() == pytest.approx(canvas.sum(), rel=1e-12)
            layers.append(inside > 0.5)
        for first, second in combinations(layers, 2):
            assert not (binary_dilation(first, np.ones((3, 3))) & second).any()


def test_colours_are_more_than_a_hundred_apart():
    everything = np.array([*COLOURS.values(), *BACKGROUNDS.values()], float)
    assert min(np.linalg.norm(a - b) for a, b in combinations(everything, 2)) > 100


@given(st.integers(-40, 40), st.integers(-40, 40))
def test_at_most_one_relation_holds_and_its_opposite_the_other_way_round(x, y):
    holds = [bool(relation_margin(np.array(i), np.array([x, y])) > 0) for i in range(4)]
    turned = [bool(relation_margin(np.array(i), np.array([-x, -y])) > 0) for i in range(4)]
    assert sum(holds) == (abs(x) != abs(y))
    assert turned == [holds[1], holds[0], holds[3], holds[2]]
    expected = {"left of": -x, "right of": x, "above": -y, "below": y}
    assert holds == [expected[name] == max(abs(x), abs(y)) != min(abs(x), abs(y)) for name in RELATIONS]


def test_tiny_objects_are_whole_tokens_in_the_middle_of_their_cells():
    preset = PRESETS["tiny"]
    _, scenes = scenes_of(preset, "located", 0, np.arange(200))
    assert set(scenes.centres[:, 0].ravel().tolist()) == {4.0, 12.0, 20.0}
    ground = np.array(list(BACKGROUNDS.values()))[scenes.background][:, :, None, None]
    tokens = (render(scenes, 24) != ground).any(1).reshape(200, 3, 8, 3, 8).any((2, 4))
    assert (tokens.sum((1, 2)) == 1).all()


def test_jitter_leads_from_cells_to_free_placement():
    def spread(jitter):
        preset = preset_named({"name": "base", "jitter": jitter})
        _, scenes = scenes_of(preset, "located", 0, np.arange(500))
        middle = (np.floor(3 * scenes.centres[:, 0] / 32) + 0.5) * 32 / 3
        return abs(scenes.centres[:, 0] - middle).mean()

    assert spread(0) == pytest.approx(0, abs=1e-12)
    assert spread(0) < spread(0.3) < spread(0.7) < spread(1)
    free = scenes_of(PRESETS["base"], "single", 0, np.arange(5000))[1].centres[:, 0]
    for low, high in ((5.4, 9.9), (11.5, 20.5), (22.1, 26.6)):  # within a cell all places are alike
        counts, _ = np.histogram(free, np.linspace(low, high, 6))
        assert counts.min() > 0.85 * counts.max()


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("tyny", "did you mean 'tiny'"),
        ({"jitter": 1}, "unknown preset of ShapeScenes None"),
        ({"name": "tiny", "jiter": 1}, "did you mean 'jitter'"),
        ({"name": "tiny", "jitter": 1.5}, "jitter=1.5: use 0 to 1"),
        ({"name": "tiny", "colours": 7}, "colours=7: use 3 to 6"),
        ({"name": "base", "radii": (2.2, 3.1)}, "the larger first"),
        ({"name": "tiny", "size": 16}, "size=16 is too small"),
    ],
)
def test_bad_presets_are_told_in_one_line(preset, message):
    with pytest.raises(UserError, match=message) as caught:
        preset_named(preset)
    assert "\n" not in str(caught.value)

"""The judge makes no error on clean scenes, accepts no counterfactual, and stands dirt and garbage."""

from collections import Counter
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from jepa_t.data.hashing import Stream
from jepa_t.worlds.shapes.captions import TEMPLATES, parse, write
from jepa_t.worlds.shapes.judge import Reading, judge, read
from jepa_t.worlds.shapes.rendering import render
from jepa_t.worlds.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Scenes,
    cell_of,
    complete,
    preset_named,
)

# All that `tiny` can have, besides the presets themselves.
RICH = {"name": "tiny", "colours": 6, "shapes": 4, "backgrounds": 3}
COUNTS = [("tiny", 600), ("rich", 600), ("base", 600), ("large", 300)]  # 2,100 in all
MIRROR = {"left of": "right of", "right of": "left of"}


@cache
def examples(name, count, seed=0):
    """Preset, true scenes, images and facts of all families in all splits' contents."""
    preset = preset_named(RICH if name == "rich" else name)
    captions, parts, index = [], [], np.arange(count)
    splits = ("seen", "unseen_binding", "unseen_template")
    for turn, family in enumerate(TEMPLATES):
        stream = Stream(seed, f"{family} verifier", index[turn :: len(TEMPLATES)])
        some, contents = write(family, splits[turn % 3], preset, stream)
        captions += some
        parts.append(complete(contents, preset, stream))
    widest = max(part.colours.shape[1] for part in parts)
    scenes = Scenes(*(np.concatenate([_widen(column, widest) for column in columns])
                      for columns in zip(*(vars(part).values() for part in parts), strict=True)))  # fmt: skip
    return preset, scenes, render(scenes, preset.size), [parse(caption) for caption in captions]


def _widen(column, width):
    if column.ndim == 1:
        return column
    return np.pad(column, [(0, 0), (0, width - column.shape[1]), *[(0, 0)] * (column.ndim - 2)],
                  constant_values=-1 if column.dtype.kind == "i" else 1)  # fmt: skip


def floats(images):
    return torch.from_numpy(images) / 127.5 - 1


def counterfactuals(fact):
    """All facts that differ in one stated attribute, with its name."""
    found = []
    choices = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}
    for number, item in enumerate(fact["objects"]):
        for name, values in choices.items():
            for value in values:
                if item[name] not in (None, value):
                    other = deepcopy(fact)
                    other["objects"][number][name] = value
                    found.append((name, other))
    for name, values in {"place": PLACES, "relation": RELATIONS, "background": BACKGROUNDS}.items():
        found += [(name, {**fact, name: value}) for value in values if fact[name] not in (None, value)]
    if len(fact["objects"]) == 1:
        found += [("count", {**fact, "count": count}) for count in range(1, 7) if count != fact["count"]]
    if fact["family"] == "related":
        found.append(("swap", {**fact, "objects": fact["objects"][::-1]}))
    return found


@pytest.mark.parametrize(("name", "count"), COUNTS)
def test_no_error_on_clean_scenes(name, count):
    preset, _, images, facts = examples(name, count)
    verdicts = judge(read(images, preset), facts, preset)
    assert [fact for fact, verdict in zip(facts, verdicts, strict=True) if not verdict["all"]] == []
    assert max(verdict["residual"] for verdict in verdicts) < 0.02
    stated = {name for verdict in verdicts for name in verdict}
    sizes = {"size"} if len(preset.radii) > 1 else set()
    assert stated == {"count", "colour", "shape", "binding", "place", "relation", "background", "all",
                      "residual"} | sizes  # fmt: skip


@pytest.mark.parametrize(("name", "count"), COUNTS)
def test_no_counterfactual_is_accepted(name, count):
    preset, scenes, images, facts = examples(name, count)
    reading, truth = read(images, preset), Reading(scenes, np.zeros(len(facts)))
    tried, accepted = Counter(), []
    for turn in range(3):
        others = [counterfactuals(fact) for fact in facts]
        others = [some[(7 * turn + row) % len(some)] for row, some in enumerate(others)]
        asked = [fact for _, fact in others]
        # A distractor may happen to make a counterfactual true.
        really = [verdict["all"] for verdict in judge(truth, asked, preset)]
        assert preset.distractors or not any(really)
        found = [verdict["all"] for verdict in judge(reading, asked, preset)]
        tried.update(name for name, _ in others)
        accepted += [fact for fact, one, two in zip(asked, found, really, strict=True) if one != two]
    assert accepted == []
    assert {"colour", "shape", "place", "relation", "background", "count", "swap"} <= set(tried)


@pytest.mark.parametrize("name", ["tiny", "base", "large"])
def test_scenes_are_read_exactly(name):
    preset, scenes, images, _ = examples(name, 300)
    found = read(images, preset).scenes
    assert (found.background == scenes.background).all()
    assert ((found.colours >= 0).sum(1) == (scenes.colours >= 0).sum(1)).all()
    for row in range(len(images)):
        there = np.flatnonzero(scenes.colours[row] >= 0)
        distance = np.linalg.norm(found.centres[row][:, None] - scenes.centres[row, there], axis=-1)
        match = np.where(found.colours[row][:, None] >= 0, distance, 99).argmin(0)
        assert (found.colours[row, match] == scenes.colours[row, there]).all()
        assert (found.shapes[row, match] == scenes.shapes[row, there]).all()
        assert distance[match, range(len(there))].max() < 0.15
        assert found.radii[row, match] == pytest.approx(scenes.radii[row, there], rel=0.05)


@pytest.mark.parametrize("name", ["tiny", "base", "large"])
def test_noise_and_blur_are_forgiven(name):
    preset, _, images, facts = examples(name, 100 if name == "large" else 300)
    random = np.random.default_rng(0)
    clean = images / 255
    noisy = clean + random.normal(size=clean.shape) * 0.05
    blurred = gaussian_filter(clean, (0, 0, 0.4, 0.4))
    grey = clean + random.choice([-1, 0, 1], clean.shape) / 255
    for dirty in (noisy, blurred, grey):
        verdicts = judge(read(2 * dirty - 1, preset), facts, preset)
        assert np.mean([verdict["all"] for verdict in verdicts]) > 0.995
        assert np.mean([verdict["residual"] for verdict in verdicts]) < 0.1


def test_bytes_and_floats_are_read_alike_in_any_batch():
    preset, _, images, _ = examples("base", 300)
    once, again = read(images, preset), read(floats(images), preset)
    alone = [read(images[row : row + 1], preset) for row in range(0, 300, 50)]
    assert (once.scenes.shapes == again.scenes.shapes).all()
    assert once.scenes.centres == pytest.approx(again.scenes.centres, abs=1e-4)
    for row, one in zip(range(0, 300, 50), alone, strict=True):
        assert (one.scenes.colours[0] == once.scenes.colours[row]).all()
        assert one.scenes.centres[0] == pytest.approx(once.scenes.centres[row], abs=1e-9)
        assert one.residual[0] == pytest.approx(once.residual[row], abs=1e-9)


def cells(reading, row, size):
    there = reading.scenes.colours[row] >= 0
    return set(zip(reading.scenes.colours[row][there].tolist(),
                   cell_of(reading.scenes.centres[row][there], size).tolist(), strict=True))  # fmt: skip


@given(st.sampled_from(["tiny", "base"]), st.integers(1, 3), st.integers(0, 10))
def test_turned_images_show_the_same_colours_at_turned_places(name, quarters, seed):
    preset, _, images, _ = examples(name, 20, seed)
    before, after = read(images, preset), read(np.rot90(images, quarters, (2, 3)).copy(), preset)
    turned = np.rot90(np.arange(9).reshape(3, 3), quarters).ravel().tolist()
    for row in range(20):
        expected = {(colour, turned.index(cell)) for colour, cell in cells(before, row, preset.size)}
        assert cells(after, row, preset.size) == expected


@given(st.sampled_from(["tiny", "base", "large"]), st.integers(0, 10))
def test_mirrored_images_show_what_mirrored_captions_say(name, seed):
    preset, _, images, facts = examples(name, 20, seed)
    across = [
        {
            **fact,
            "place": fact["place"]
            and PLACES[PLACES.index(fact["place"]) // 3 * 3 + 2 - PLACES.index(fact["place"]) % 3],
            "relation": MIRROR.get(fact["relation"], fact["relation"]),
        }
        for fact in facts
    ]
    reading = read(images[..., ::-1].copy(), preset)
    assert all(verdict["all"] for verdict in judge(reading, across, preset))
    for fact, verdict in zip(facts, judge(reading, facts, preset), strict=True):
        if fact["relation"] in MIRROR:
            assert not verdict["relation"]


def garbage():
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 24, 24, generator=random)
    spotted = torch.full((3, 24, 24), -1.0)
    spotted[0, ::4, ::4] = 1  # thirty-six red pixels
    return {
        "noise": noise,
        "faint noise": noise / 10,
        "uniform": torch.rand(3, 24, 24, generator=random) * 2 - 1,
        "black": torch.full((3, 24, 24), -1.0),
        "red": torch.tensor([0.8, -0.8, -0.7])[:, None, None].expand(3, 24, 24),
        "nan": torch.full((3, 24, 24), torch.nan),
        "infinite": torch.full((3, 24, 24), torch.inf),
        "huge": noise * 1e30,
        "checkerboard": (torch.arange(24)[:, None] + torch.arange(24)).remainder(2).expand(3, 24, 24) * 2.0 - 1,
        "spots": spotted,
        "gradient": torch.linspace(-1, 1, 24).expand(3, 24, 24),
    }


@pytest.mark.parametrize("name", garbage())
def test_garbage_is_wrong_and_nothing_else(name):
    preset, _, _, facts = examples("tiny", 40)
    image = garbage()[name]
    verdicts = judge(read(image.expand(40, 3, 24, 24), preset), facts, preset)
    assert not any(verdict["all"] for verdict in verdicts)
    assert all(0 <= verdict["residual"] <= 1 for verdict in verdicts)


def test_one_pixel_that_is_no_number_spoils_its_image_alone():
    preset, _, images, facts = examples("tiny", 40)
    images = floats(images)
    images[3, 1, 5, 5] = torch.nan
    right = [verdict["all"] for verdict in judge(read(images, preset), facts, preset)]
    assert right == [row != 3 for row in range(40)]


def edited(change):
    """The attributes that are wrong of "a red circle left of a blue square" after a change of its image."""
    preset = preset_named(RICH)
    fact = parse("a red circle left of a blue square on a white background")
    scene = Scenes(
        colours=np.array([[0, 2]]),
        shapes=np.array([[0, 2]]),
        radii=np.full((1, 2), 2.25),
        centres=np.array([[[4.0, 12.0], [20.0, 12.0]]]),
        background=np.array([1]),
    )
    image = render(scene, 24)[0]
    verdict = judge(read(change(image)[None], preset), [fact], preset)[0]
    return {name for name, right in verdict.items() if name not in ("residual", "all") and not right}


def recolour(image, box, colour):
    """Objects of a box in another colour, flat."""
    rows, columns = box
    part = image[:, rows, columns]
    part[:, (part != 255).any(0)] = np.array(COLOURS[colour], np.uint8)[:, None]
    return image


LEFT, RIGHT = (slice(8, 16), slice(0, 8)), (slice(8, 16), slice(16, 24))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda image: image, set()),
        (lambda image: image[:, :, ::-1].copy(), {"relation"}),
        (lambda image: image.transpose(0, 2, 1).copy(), {"relation"}),
        (lambda image: recolour(image, RIGHT, "green"), {"colour", "binding", "relation"}),
        (lambda image: np.roll(image, (-8, 8), (1, 2)), {"relation"}),
        (lambda image: np.where(image.min(0) == 255, np.uint8(128), image), {"background"}),
        (
            lambda image: np.concatenate([image[:, :8], image[:, 8:16], image[:, 8:16]], 1),
            {"count", "binding"},
        ),
    ],
)
def test_a_change_makes_its_attribute_wrong(change, wrong):
    assert edited(change) == wrong


def test_a_half_drawn_object_has_no_shape():
    def halved(image):
        image[:, 12:, 16:] = 255
        return image

    assert {"shape", "binding"} <= edited(halved)


def test_dots_on_the_border_change_neither_background_nor_objects():
    def dotted(image):
        image[:, ::3, [0, -1]] = image[:, [0, -1], ::3] = 0
        return image

    assert edited(dotted) == set()


def test_a_distractor_at_the_place_does_not_count():
    preset = preset_named("large")
    scene = Scenes(
        colours=np.array([[0, 2]]),
        shapes=np.array([[0, 2]]),
        radii=np.full((1, 2), 6.0),
        centres=np.array([[[12.0, 12.0], [52.0, 52.0]]]),
        background=np.array([0]),
    )
    reading = read(render(scene, 64), preset)
    for caption, right in (("top left", True), ("bottom right", False)):
        verdict = judge(reading, [parse(f"a red circle at the {caption}")], preset)[0]
        assert (verdict["place"], verdict["all"]) == (right, right)
        assert verdict["binding"]


def test_exchanged_colours_are_a_wrong_binding_of_right_colours_and_shapes():
    def exchanged(image):
        return recolour(recolour(image, LEFT, "blue"), RIGHT, "red")

    assert edited(exchanged) == {"binding", "relation"}

"""What a click on the page does: views step by step, redrawn parts, and lines that draw the same again."""

import shlex
import threading

import numpy as np
import pytest
from PIL import Image
from tiny import CAPTIONS, SIZE, config, make_model

from jepa_t.cli import main
from jepa_t.demo import stations
from jepa_t.demo.actions import GAP, MOST, Part, Wanted, draw, files, first_of, reproduction, strip, warm, watched
from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline

HEIGHT, WIDTH = SIZE


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two, by the folders that they lie in."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "other")):
        Pipeline(make_model(seed), config()).save_pretrained(folder / name)
    return {str(folder / name): Pipeline.from_pretrained(folder / name, device="cpu") for name in ("one", "other")}


def one_of(models):
    return dict([next(iter(models.items()))])


def pixels(image):
    return np.asarray(image.convert("RGB"), int)


def on_strip(image, number=0, count=1):
    """An image of the model's size again, from a strip."""
    step = (image.width + GAP) // count
    cell = image.crop((step * number, 0, step * (number + 1) - GAP, image.height))
    return pixels(cell.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))


def test_each_step_is_seen_and_the_last_is_what_the_pipeline_draws(models):
    wanted = Wanted(CAPTIONS[0], seed=3, count=2, steps=2, guidance=2.0)
    views = list(draw(models, wanted))
    assert [len([one for one in view.strips if one is not None]) for view in views] == [1, 1, 1, 2, 2, 2, 2]
    assert [view.said.split(": ")[-1] for view in views[:2]] == ["step 1 of 2", "step 2 of 2"]
    assert views[-1].said == "Drawn with seeds 3, 4."
    for shown, pipeline in zip(views[-1].strips, models.values(), strict=True):
        images = pipeline([CAPTIONS[0]] * 2, [3, 4], steps=2, guidance_scale=2.0).images
        assert pixels(shown).tolist() == pixels(strip(images)).tolist()
        for number, image in enumerate(images):
            assert np.array_equal(on_strip(shown, number, 2), pixels(image))
    assert pixels(first_of(views[-1].strips[0], 2)).shape == pixels(strip(images[:1])).shape
    assert not np.array_equal(pixels(views[0].strips[0]), pixels(views[-1].strips[0]))


def test_warming_draws_once_with_each_whether_it_knows_the_word_or_not():
    drawn = []

    def strange(caption, seeds, **options):
        drawn.append((caption, seeds, options))
        raise UserError("no word that this model was trained on")

    warm({"one": strange, "other": strange})
    assert drawn == [("a", [0], {"steps": 1})] * 2


def test_words_that_a_model_never_saw_are_named(models):
    *_, last = draw(one_of(models), Wanted("a crimson three", 0))
    assert "was never trained on 'crimson'." in last.said


FIELDS = {"caption": CAPTIONS[0], "seed": "0", "count": 1, "guidance": "", "preset": "as trained", "steps": ""}


def test_each_word_has_a_map_or_it_is_said_why_not(models):
    *_, last = draw(models, Wanted(CAPTIONS[0], 0))
    assert {name: [word for word, _ in maps] for name, maps in last.words.items()} == dict.fromkeys(
        models, CAPTIONS[0].split()
    )
    none = {"none": Pipeline(make_model(fusion="late"), config(fusion="late"))}
    *_, last = draw(none, Wanted(CAPTIONS[0], 0))
    assert last.words == {}
    assert "none: the fusion of this model has no attention over words" in last.said


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"caption": " "}, "there is no caption; type one"),
        ({"caption": "crimson"}, "no word that this model was trained on"),
        ({"seed": "-1"}, "the seed -1 is no whole number"),
        ({"seed": "1.5"}, "seed is '1.5'; type a whole number, or nothing"),
        ({"steps": "0"}, "sampler.steps is 0"),
        ({"guidance": "much"}, "guidance is 'much'; type a number, or nothing"),
        ({"guidance": "-1"}, "sampler.guidance_scale is -1"),
        ({"guidance": float("nan")}, "sampler.guidance_scale is nan"),
        ({"count": MOST + 1}, "5 images were asked for; ask for 1 to 4"),
        ({"count": None}, "the number of images is None; it must be a whole number of at least 1"),
        ({"count": 2.5}, "the number of images is 2.5; it must be a whole number of at least 1"),
        ({"caption": None}, "there is no caption; type one"),
        ({"seed": 1.5}, "seed is 1.5; type a whole number, or nothing"),
        ({"steps": [2]}, r"steps is \[2\]; type a whole number, or nothing"),
        ({"preset": ["fast"]}, r"unknown preset \['fast'\]"),
    ],
)
def test_what_cannot_be_drawn_is_told(models, typed, says):
    with pytest.raises(UserError, match=says):
        list(draw(models, Wanted.typed(**FIELDS | typed)))


def test_without_a_seed_one_is_chosen_and_told(models):
    first, second = (Wanted.typed(**FIELDS | {"seed": ""}) for _ in range(2))
    assert first.seed != second.seed
    assert first.options == {}
    *_, last = draw(one_of(models), first)
    assert f"seed {first.seed}." in last.said


def test_a_closed_iterator_ends_the_drawing(models):
    _, pipeline = next(iter(models.items()))
    others, begun, go_on = set(threading.enumerate()), [], threading.Semaphore(1)

    def wait(*_):
        begun.append(None)
        assert go_on.acquire(timeout=60)

    hook = pipeline.model.ema.encoder.register_forward_pre_hook(wait)
    try:
        steps = watched(pipeline, Wanted(CAPTIONS[0], 0, steps=6))
        assert next(steps).number == 1
        steps.close()
        go_on.release(9)
        for thread in set(threading.enumerate()) - others:
            thread.join(60)
            assert not thread.is_alive()
    finally:
        hook.remove()
    assert len(begun) <= 2


@pytest.mark.parametrize(
    "wanted", [Wanted(CAPTIONS[0], 5), Wanted("it's red", 2, 2, 1.5, "fast", 2), Wanted("-a\tthree", 1)]
)
def test_the_lines_draw_what_is_seen(models, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell, python = reproduction(list(models), wanted)
    *_, last = draw(models, wanted)
    state = {}
    exec(python, state)
    for number, (line, shown) in enumerate(zip(shell.splitlines(), last.strips, strict=True)):
        assert main(["sample", "--device", "cpu", *shlex.split(line)[2:]]) == 0
        files = sorted((tmp_path / f"samples_{number + 1}" / "images").iterdir())
        for place, (file, image) in enumerate(zip(files, state[f"images_{number + 1}"], strict=True)):
            assert np.abs(on_strip(shown, place, wanted.count) - pixels(Image.open(file))).max() <= 1
            assert np.array_equal(on_strip(shown, place, wanted.count), pixels(image))


def editor(image, brushed):
    """What Gradio's editor holds: a brushed rectangle of a layer."""
    layer = np.zeros((image.height, image.width, 4), np.uint8)
    layer[brushed] = (255, 0, 255, 200)
    return {"background": image, "layers": [Image.fromarray(layer)], "composite": None}


def test_a_brushed_part_is_drawn_anew_and_the_rest_stays(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, pipeline = next(iter(models.items()))
    drawn = pipeline(CAPTIONS[0], [0]).images[0]
    big = strip([drawn])
    part = Part.of_editor(editor(big, np.s_[: big.height // 2 - 1, : big.width // 3 - 1]))
    fitted = part.fitted(pipeline)
    assert np.array_equal(pixels(fitted.image), pixels(drawn))
    assert np.array_equal(np.asarray(fitted.mask), [[True] * 2 + [False] * 4] * 2 + [[False] * 6] * 2)
    wanted = Wanted(CAPTIONS[1], 7)
    *_, last = draw({name: pipeline}, wanted, {name: fitted})
    changed = on_strip(last.strips[0])
    plain = pixels(pipeline(CAPTIONS[1], [7], images=drawn, mask=np.zeros(SIZE, bool)).images[0])
    assert np.array_equal(changed[2:], plain[2:])
    assert not np.array_equal(changed[:2, :2], plain[:2, :2])
    fitted.image.save("image.png")
    fitted.mask.convert("L").save("mask.png")
    state = {}
    shell, python = reproduction([name], wanted, files({name: fitted}))
    exec(python, state)
    assert np.array_equal(pixels(state["images"][0]), changed)
    assert main(["sample", "--device", "cpu", *shlex.split(shell)[2:]]) == 0
    (file,) = (tmp_path / "samples" / "images").iterdir()
    assert np.array_equal(pixels(Image.open(file)), changed)


def test_one_brushed_pixel_of_a_large_photo_reaches_the_mask(models):
    photo = Image.new("RGBA", (3000, 2000), (10, 20, 30, 128))
    part = Part.of_editor(editor(photo, np.s_[1000:1001, 1500:1501])).fitted(next(iter(models.values())))
    assert np.asarray(part.mask).sum() == 1
    assert part.image.size == (WIDTH, HEIGHT)
    assert pixels(part.image)[0, 0].tolist() == [132, 137, 142]  # on white


def test_what_is_brushed_outside_the_middle_is_told(models):
    wide = Part.of_editor(editor(Image.new("RGB", (300, 50)), np.s_[:, :20]))
    with pytest.raises(UserError, match="what was brushed lies outside the middle that the model sees"):
        wide.fitted(next(iter(models.values())))


def test_models_of_one_size_share_files_and_those_of_another_have_their_own():
    part, other = (Part(Image.new("RGB", size), Image.new("1", size)) for size in ((6, 4), (64, 64)))
    assert files({"one": part, "other": part}) == dict.fromkeys(("one", "other"), ("image", "mask"))
    saved = files({"one": part, "other": other})
    assert saved == {"one": ("image_6x4", "mask_6x4"), "other": ("image_64x64", "mask_64x64")}
    shell, python = reproduction(list(saved), Wanted("a fox", 0), saved)
    for number, line in enumerate(shell.splitlines()):
        image, mask = (f"{file}.png" for file in list(saved.values())[number])
        assert f"--image {image} --mask {mask} " in line
        assert f"images=Image.open({image!r}), mask=Image.open({mask!r})" in python


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (None, "there is no image to change"),
        ({"background": None, "layers": []}, "there is no image to change"),
        (editor(Image.new("RGB", (8, 8)), np.s_[:0]), "nothing was brushed"),
        (
            editor(Image.new("RGB", (8, 8)), np.s_[:1]) | {"background": Image.new("RGB", (9, 8))},
            "give both in one size",
        ),
    ],
)
def test_an_empty_editor_is_told(held, says):
    with pytest.raises(UserError, match=says):
        Part.of_editor(held)


def test_the_shares_of_the_stations_add_up_and_no_hook_stays(models):
    wanted = Wanted(CAPTIONS[0], 0)
    found = stations.shares(models, wanted)
    assert list(found) == list(models)
    for pipeline, times in zip(models.values(), found.values(), strict=True):
        assert {"text tokenizer", "context encoder", "predictor", "fusion at features", stations.REST} <= set(times)
        assert all(seconds > 0 for seconds in times.values())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in pipeline.model.modules())
    lines = stations.table(found).splitlines()
    column = [float(line.split("|")[2].rstrip(" %")) for line in lines[2:-1]]
    assert sum(column) == pytest.approx(100, abs=0.1 * len(column))
    assert lines[-1].startswith("| all |")


def test_a_station_inside_another_is_counted_once():
    clock = stations.Clock(next(make_model().parameters()).device)
    ticks = iter([1.0, 3.0, 6.0, 10.0, 15.0])
    clock._now, clock.since = lambda: next(ticks), 0.0
    for into in ("predictor", "fusion", None, None, "end"):
        clock.turn(into=into)
    assert clock.seconds == {stations.REST: 1 + 5, "predictor": 2 + 4, "fusion": 3}

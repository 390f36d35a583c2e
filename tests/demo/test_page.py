"""The page: what it shows at each moment, and mistakes answered in it. How it is served is seen in test_browser.py."""

import asyncio
import gc

import pytest
from PIL import Image
from tiny import CAPTIONS, config, make_model

from jepa_t.cli import main
from jepa_t.pipeline import Pipeline

pytest.importorskip("gradio", reason="the extra demo isn't installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what Gradio stands on
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _loop():
    """Gradio would make an event loop and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
    gc.collect()


@pytest.fixture(scope="module")
def models():
    return {name: Pipeline(make_model(seed), config()) for seed, name in enumerate(("one", "other"))}


def values(caption):
    return caption, "0", 1, "", "as trained", ""


def test_what_is_shown_at_each_moment(models):
    from jepa_t.demo.actions import Wanted
    from jepa_t.demo.page import shown

    moments = list(shown(models, lambda: (Wanted.typed(*values(CAPTIONS[0])), None)))
    said, images, first, words, given, shell, python = moments[-1]
    assert "Drawn with seed 0." in said
    assert images.count("<img") == 2
    assert first.size[0] >= 320
    assert words.count("<figure>") == 2 * len(CAPTIONS[0].split())
    assert given == ""
    assert len({moment[1] for moment in moments}) == len(moments) - 3  # two are drawn when their last step is seen
    assert shell.startswith("jepa-t sample one")
    assert "Pipeline.from_pretrained('other')" in python
    (wrong,) = shown(models, lambda: (Wanted.typed(*values("<b>")), None))
    assert 'class="said wrong"' in wrong[0]
    assert "&lt;b&gt;" in wrong[0]


def test_the_files_of_a_redrawn_part_are_those_that_the_lines_name(models):
    from jepa_t.demo.actions import Part, Wanted
    from jepa_t.demo.page import shown

    wide = {
        "wide": Pipeline(make_model(image_tokenizer={"type": "PatchTokenizer", "size": (4, 8), "patch": 2}), config())
    }
    part = Part(Image.new("RGB", (60, 40)), Image.new("1", (60, 40), 1))
    *_, last = shown(models | wide, lambda: (Wanted.typed(*values(CAPTIONS[0])), part))
    given, shell = last[4:6]
    for file in ("image_6x4.png", "mask_6x4.png", "image_8x4.png", "mask_8x4.png"):
        assert given.count(f'download="{file}"') == 1
        assert file in shell


@pytest.mark.parametrize(
    ("change", "says"), [({2: None}, "images is None"), ({2: 2.5}, "images is 2.5"), ({}, "be read as an image")]
)
def test_a_mistake_through_the_api_is_answered_below_the_controls(models, tmp_path, change, says):
    from jepa_t.demo.page import build

    page = build(models)
    (redraw,) = (function for function in page.fns.values() if function.name == "on_redraw")
    file = tmp_path / "notes.png"
    file.write_text("no image")
    held = {"background": {"path": str(file), "meta": {"_type": "gradio.FileData"}}, "layers": [], "composite": None}
    asked = [change.get(place, value) for place, value in enumerate(values(CAPTIONS[0]))]
    inputs = asyncio.get_event_loop().run_until_complete(
        page.preprocess_data(redraw, [held, *asked], None, explicit_call=True)
    )
    (answer,) = redraw.fn(*inputs)
    assert 'class="said wrong"' in answer[0]
    assert says in answer[0]


def test_the_first_image_goes_into_the_editor():
    from jepa_t.demo.page import taken

    assert taken(None)["background"] is None
    assert taken(Image.new("RGB", (6, 4)))["background"].size == (6, 4)


def test_the_page_has_what_the_browser_plays_with_and_tells_nobody(models):
    from jepa_t.demo.page import build

    page = build(models)
    assert page.analytics_enabled is False
    there = {block.elem_id for block in page.blocks.values()}
    assert {"caption", "seed", "draw", "said", "images", "words", "editor", "take", "redraw", "given"} <= there


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere_at_all"], "no model at 'nowhere_at_all'"),
        (["emoji", "emoji"], "a model is named twice among emoji, emoji"),
        (["--port", "0"], "--port is 0"),
    ],
)
def test_mistakes_of_the_command_are_one_line(words, says, capsys):
    assert main(["demo", *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1

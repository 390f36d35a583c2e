"""The page in a real browser without a screen: Debian's chromium, by Playwright. ``SHOTS=folder`` keeps what it saw."""

import base64
import io
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepa_t.pipeline import Pipeline
from jepa_t.sheets import enlarge

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium here; apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]
sync = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
WAIT = 60_000  # milliseconds


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of ``jepa-t demo emoji``, started in an empty folder."""
    folder, root = tmp_path_factory.mktemp("empty"), Path(__file__).parents[2]
    words = [sys.executable, "-m", "jepa_t", "demo", "emoji", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    page.close()
    assert not outside


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.from_pretrained("emoji", device="cpu")


def shot(page, name):
    if folder := os.environ.get("SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def drawn(page, done="Drawn with seed"):
    """The image of the first model, once it is said to be drawn."""
    sync.expect(page.locator("#said")).to_contain_text(done, timeout=WAIT)
    return image_at(page, "#images img")


def image_at(page, place, number=0):
    source = page.locator(place).nth(number).get_attribute("src", timeout=WAIT)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"), int)


def ask(page, caption, seed):
    page.locator("#seed textarea, #seed input").fill(str(seed))
    page.locator("#caption textarea, #caption input").fill(caption)
    page.locator("#draw").click()


def test_the_page_is_this_machine_s_alone_and_gives_no_file_away(address, tmp_path):
    assert address.startswith("http://127.0.0.1:")
    (tmp_path / "secret.txt").write_text("of mine")
    for path in ("/etc/passwd", str(tmp_path / "secret.txt"), f"{Path(__file__).parents[2]}/pyproject.toml"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address}gradio_api/file={path}")
        assert caught.value.code in (403, 404)
        caught.value.close()


def test_a_caption_is_typed_and_its_image_seen_and_a_seed_gives_it_again(page, pipeline):
    expected = [np.asarray(enlarge(pipeline("a fox", [seed]).images[0], 320), int) for seed in (0, 1)]
    for seed in (0, 1, 0):
        ask(page, "a fox", seed)
        found = drawn(page, f"Drawn with seed {seed}.")
        assert np.abs(found - expected[seed]).max() <= 1
    shot(page, "drawn")


def test_a_wrong_caption_is_answered_in_the_page(page):
    ask(page, "xyzzy", 0)
    sync.expect(page.locator("#said .wrong")).to_contain_text(
        "has no word that this model was trained on", timeout=WAIT
    )
    shot(page, "wrong")
    ask(page, "a fox", 0)
    drawn(page)
    assert not page.locator("#said .wrong").count()


def test_a_mask_is_brushed_and_redrawn_and_the_rest_stays(page, pipeline):
    ask(page, "a woman astronaut with dark skin", 0)
    before = drawn(page)
    page.get_by_text("Redraw a part").click()
    page.locator("#take").click()
    canvas = page.locator("#editor canvas").first
    canvas.scroll_into_view_if_needed(timeout=WAIT)
    time.sleep(2)  # the editor lays the image out
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    for step in range(1, 13):
        page.mouse.move(x - 60 + 10 * step, y, steps=2)
    page.mouse.up()
    time.sleep(1)
    shot(page, "brushed")
    page.locator("#seed textarea, #seed input").fill("5")
    page.locator("#caption textarea, #caption input").fill("a man firefighter with light skin")
    page.locator("#redraw").click()
    drawn(page, "Drawn with seed 5.")
    mask = image_at(page, "#given img", 1).max(-1) > 127
    assert 0.02 < mask.mean() < 0.9
    shot(page, "redrawn")
    after = image_at(page, "#images img")[2::5, 2::5]
    given = image_at(page, "#given img")
    assert np.abs(given - before[2::5, 2::5]).mean() < 2
    given = Image.fromarray(given.astype(np.uint8))
    expected = pipeline("a man firefighter with light skin", [5], images=given, mask=mask).images[0]
    assert np.abs(after - np.asarray(expected, int)).max() <= 1
    assert np.abs(after - before[2::5, 2::5]).max() > 30


def test_the_lines_and_the_shares_are_seen(page):
    ask(page, "a fox", 3)
    drawn(page, "Drawn with seed 3.")
    page.get_by_text("The same from the shell").click()
    sync.expect(page.locator("#shell")).to_contain_text("jepa-t sample emoji --seed 3 -- 'a fox'", timeout=WAIT)
    page.get_by_text("Where the time goes").click()
    page.locator("#measure").click()
    sync.expect(page.locator("#times")).to_contain_text("context encoder", timeout=WAIT)
    shot(page, "open")

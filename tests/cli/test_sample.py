"""The sampling command: images that carry what they were made from, and mistakes in one line."""

import json

import pytest
import torch
from PIL import Image
from test_pipeline import CONFIG

from jepa_t import drawing
from jepa_t.cli import main, sample
from jepa_t.cli.sample import read_mask
from jepa_t.contracts import Sampler
from jepa_t.engine.compat import save_checkpoint
from jepa_t.errors import UserError
from jepa_t.registry import MODELS, SAMPLERS, build
from jepa_t.tokenizers.encoding import decode


@pytest.fixture
def checkpoint(tmp_path):
    model = build(CONFIG, MODELS)
    model.fit(torch.rand(20, 3, 4, 4) * 2 - 1, ["a red three", "a blue seven"])
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": CONFIG}}, str(tmp_path / "iter_1.pth"))
    return tmp_path / "iter_1.pth"


def test_one_image_per_caption_and_seed_and_a_sheet(checkpoint, tmp_path, capsys):
    words = [
        str(checkpoint),
        "a red three",
        "a blue seven",
        "--seed",
        "3",
        "--count",
        "2",
        "--guidance",
        "2.5",
        "--temperature",
        "0.9",
    ]
    assert main(["sample", *words, "--steps", "2", "--solver-steps", "4", "--out", str(tmp_path / "out")]) == 0
    files = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert files == [
        "000_a_red_three_seed3.png",
        "001_a_red_three_seed4.png",
        "002_a_blue_seven_seed3.png",
        "003_a_blue_seven_seed4.png",
    ]
    image = Image.open(tmp_path / "out" / "images" / files[3])
    assert image.size == (4, 4)
    assert image.text["caption"] == "a blue seven"
    assert image.text["seed"] == "4"
    settings = json.loads(image.text["sampler"])
    assert (settings["guidance_scale"], settings["steps"], settings["draw"]) == (2.5, 2, {"solver_steps": 4})
    assert settings["temperature"] == 0.9
    assert len(image.text["weights_sha256"]) == 64
    with Image.open(tmp_path / "out" / "samples.png") as sheet:
        assert min(sheet.size) >= 128
        assert json.loads(sheet.text["seeds"]) == [3, 4, 3, 4]
    said = capsys.readouterr().out
    assert "4 images" in said
    assert "earlier" not in said
    assert main(["sample", str(checkpoint), "a red three", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "1 image in" in said
    assert "beside them: 4 of earlier calls" in said


def test_images_in_the_place_of_earlier_ones_are_counted(checkpoint, tmp_path, capsys):
    """Of the same caption and seed, whatever the sampler's options are."""
    words = ["sample", str(checkpoint), "a red three", "--out", str(tmp_path / "out"), "--count"]
    assert main([*words, "2"]) == 0
    assert main([*words, "3", "--steps", "1"]) == 0
    said = capsys.readouterr().out
    assert said.count("place of earlier") == 1
    assert f"3 images in {tmp_path / 'out' / 'images'}, 2 in the place of earlier ones; all on one sheet" in said


def test_word_maps_are_told_of_only_where_something_was_drawn(checkpoint, tmp_path, capsys):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "image.png")
    words = ["sample", str(checkpoint), "a red three", "--image", str(tmp_path / "image.png"), "--mask", "0"]
    assert main([*words, "--animate", "--word-maps", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "out" / "words").exists()
    assert "no words, since nothing was drawn" in said
    assert f"animations in {tmp_path / 'out' / 'animations'}" in said


def test_images_are_written_as_they_are_drawn_and_the_sheet_has_the_first(checkpoint, tmp_path, capsys, monkeypatch):
    """Ctrl-C during the second batch keeps the first; with few places on the sheet not all are on it."""
    words = [
        "sample",
        str(checkpoint),
        "a red three",
        "--count",
        "3",
        "--batch-size",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    monkeypatch.setattr(sample, "SHOWN", 2)
    assert main(words) == 0
    assert f"3 images in {tmp_path / 'out' / 'images'}; the first 2 on one sheet" in capsys.readouterr().out
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out" / "images").iterdir()}
    (tmp_path / "out").rename(tmp_path / "whole")

    def interrupted(tokenizer, tokens):
        if len(tokens) == 1:
            raise KeyboardInterrupt
        return decode(tokenizer, tokens)

    monkeypatch.setattr(drawing, "decode", interrupted)
    assert main(words) == 130
    assert (
        capsys.readouterr().err.strip() == f"stopped; 2 of 3 images are in {tmp_path / 'out' / 'images'}, and no sheet"
    )
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out" / "images").iterdir()}
    assert kept == {name: content for name, content in whole.items() if not name.startswith("002")}
    assert not (tmp_path / "out" / "samples.png").exists()


def test_animations_word_maps_and_edits(checkpoint, tmp_path, capsys):
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    Image.new("RGB", (4, 4), "red").save(image)
    half = Image.new("1", (4, 4))
    half.paste(1, (0, 0, 4, 2))
    half.save(mask)
    words = ["sample", str(checkpoint), "a red three", "--negative", "a blue seven", "--animate", "--word-maps"]
    assert main([*words, "--image", str(image), "--mask", str(mask), "--out", str(tmp_path / "out")]) == 0
    name = "000_a_red_three_seed0"
    with Image.open(tmp_path / "out" / "animations" / f"{name}.gif") as animation:
        assert animation.n_frames == 2  # as many as steps
    with Image.open(tmp_path / "out" / "words" / f"{name}.png") as sheet:
        assert sheet.width > 4 * 128
    with Image.open(tmp_path / "out" / "images" / f"{name}.png") as drawn:
        assert (drawn.text["negative"], drawn.text["mask"]) == ("a blue seven", str(mask))
    said = capsys.readouterr().out
    assert all(f"{name} in {tmp_path / 'out' / name}" in said for name in ("animations", "words"))


def test_a_region_has_a_caption_of_its_own(checkpoint, tmp_path):
    mask = tmp_path / "mask.png"
    Image.new("1", (4, 4), 1).save(mask)
    words = ["sample", str(checkpoint), "--out", str(tmp_path)]
    assert main([*words, "a red three", "--region", "a blue seven", str(mask)]) == 0
    assert main([*words, "a blue seven"]) == 0
    one, other = (Image.open(tmp_path / "images" / f"000_a_{name}_seed0.png") for name in ("red_three", "blue_seven"))
    assert one.tobytes() == other.tobytes()
    assert json.loads(one.text["regions"]) == [["a blue seven", str(mask)]]


def test_a_mask_s_transparent_pixels_are_black_and_its_numbers_are_of_8_bits(tmp_path):
    mask = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    mask.putpixel((1, 0), (255, 255, 255, 255))
    mask.save(tmp_path / "mask.png")
    assert read_mask(str(tmp_path / "mask.png")).tobytes() == b"\x00\xff"
    Image.new("I;16", (2, 1)).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match="its mode is I;16"):
        read_mask(str(tmp_path / "mask.png"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["", "--steps", "2"], "a caption is empty"),
        (["🦊"], "no word that this model was trained on"),
        (["a red three", "--steps", "0"], "sampler.steps is 0"),
        (["a red three", "--preset", "fastt"], "did you mean 'fast'"),
        (["a red three", "--solver", "eulr"], "did you mean 'euler'"),
        (["a red three", "--guidance", "-1"], "sampler.guidance_scale is -1"),
        (["a red three", "--temperature", "-1"], "sampler.temperature is -1"),
        (["a red three", "--order", "confidence"], "needs an objective that says how sure it is"),
        (["a red three", "--device", "tpu"], "device 'tpu'"),
        (["a red three", "--count", "0"], "count is 0"),
        (["a red three", "--mask", "0.5"], "--mask is given without --image"),
        (["a red three", "--region", "seven", "no.png"], "--region 'no.png' can't be read: No such file"),
        (["a red three", "--image", "no.png", "--mask", "0.5"], "--image 'no.png' can't be read: No such file"),
        (["a red three", "--negative", "a blue seven", "--guidance", "1"], "guidance, which is off"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(checkpoint, tmp_path, capsys, words, says):
    assert main(["sample", str(checkpoint), *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_absent_and_truncated_checkpoints(checkpoint, tmp_path, capsys):
    assert main(["sample", str(tmp_path / "no.pth"), "a red three"]) == 2
    checkpoint.write_bytes(checkpoint.read_bytes()[:300])
    assert main(["sample", str(checkpoint), "a red three"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "no model at" in said[0]
    assert "damaged" in said[1]


@SAMPLERS.register_module(force=True)
class PlainSampler(Sampler):
    """Draws grey, and is no dataclass."""

    def check(self, objective):
        pass

    def __call__(self, denoiser, text, seeds):
        return torch.zeros(len(seeds), denoiser.grid[0] * denoiser.grid[1], denoiser.channels)


def test_images_of_a_sampler_of_ones_own_name_it(checkpoint, tmp_path):
    saved = torch.load(checkpoint, weights_only=True)
    saved["meta"]["model"] = CONFIG | {"sampler": {"type": "PlainSampler"}}
    save_checkpoint(saved, str(checkpoint))
    assert main(["sample", str(checkpoint), "a red three", "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out" / "images").iterdir()
    assert Image.open(file).text["sampler"] == "PlainSampler"

"""A folder of one's own, held in memory: what is held out is never shown, and judges by retrieval."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from jepa_t.data import SmallImages, SmallPrompts
from jepa_t.engine import JEPATRunner, load_config
from jepa_t.errors import UserError
from jepa_t.registry import DATASETS, METRICS, MODELS, build
from jepa_t.tokenizers import PatchTokenizer, TransformerText


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(f"pattern number {number}")
    return str(path)


def test_the_parts_are_the_whole_and_share_nothing(folder):
    train, held_out, whole = (SmallImages(folder, 16, part, 0.2) for part in ("train", "held_out", "all"))
    assert len(train) + len(held_out) == len(whole) == 60
    assert 4 < len(held_out) < 24
    assert set(train.captions).isdisjoint(held_out.captions)
    assert whole.held_out.sum() == len(held_out.images)
    batch = train.__getitems__([3, 0])
    assert torch.equal(batch["inputs"], train.images[[3, 0]])
    assert batch["data_samples"]["caption"] == [train.captions[3], train.captions[0]]
    train.hold(torch.arange(len(train.images))[:, None, None])
    assert train.__getitems__([5])["inputs"]["tokens"].item() == 5


def test_broken_images_are_left_out_up_to_the_share_that_is_allowed(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    for number in range(12):
        (own / f"z{number}.png").write_bytes(b"no image")
        (own / f"z{number}.txt").write_text("broken")
    with pytest.raises(UserError, match=r"12 of 72 images read are broken, more than max_broken=0.001"):
        SmallImages(str(own), 16)
    assert len(SmallPrompts(str(own), 16, max_broken=0.2)) == 60
    changes = {"source": str(own), "size": 16, "max_broken": 0.2}
    cfg = load_config("jepat_own", changes=changes)
    assert len(DATASETS.build(cfg.train_dataloader.dataset).images) < 60


def test_the_share_of_broken_images_is_judged_on_all_which_are_summed_up_once(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    own = shutil.copytree(folder, tmp_path / "own")
    for number in range(12):
        (own / f"0{number}.png").write_bytes(b"no image")  # the first by name
        (own / f"0{number}.txt").write_text("broken")
    for part in ("train", "held_out", "all"):
        SmallImages("own", 16, part, 0.2, max_broken=0.2)
    SmallPrompts("own", 16, 0.2, max_broken=0.2)
    (file,) = (tmp_path / "work_dirs" / "broken_images").iterdir()
    assert sorted(line.split("\t")[0] for line in file.read_text().splitlines()) == sorted(
        f"0{number}.png" for number in range(12)
    )
    (said,) = caplog.messages
    assert said.startswith("60 of 72 images of own are read; 12 are broken, all named in work_dirs/broken_images/")


def test_a_part_of_broken_images_alone_offers_no_other_share(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    (tmp_path / "1.txt").write_text("broken")
    with pytest.raises(UserError, match="is empty; all are broken, see work_dirs/broken_images"):
        SmallImages(str(tmp_path), 16)


def test_what_is_held_out_stays_so_when_images_are_added(folder, tmp_path):
    def held(path):
        return set(SmallImages(str(path), 16, "held_out", 0.2).captions)

    for name in [f"{number}.{kind}" for number in range(40) for kind in ("png", "txt")]:
        shutil.copy(f"{folder}/{name}", tmp_path)
    assert held(tmp_path) == {caption for caption in held(folder) if int(caption.split()[-1]) < 40}


def test_prompts_name_their_image_among_all(folder):
    prompts, whole = SmallPrompts(folder, 16, 0.2, per_split=5, images=True), SmallImages(folder, 16, "all", 0.2)
    assert prompts.splits == ["seen"] * 5 + ["held_out"] * 5
    for caption, split, fact, image in zip(
        prompts.captions, prompts.splits, prompts.facts, prompts.images, strict=True
    ):
        assert whole.captions[fact["image"]] == caption
        assert whole.held_out[fact["image"]] == (split == "held_out")
        assert torch.equal(whole.images[fact["image"]], image)


def test_a_wrong_part_or_an_empty_one_is_told(folder):
    with pytest.raises(UserError, match="did you mean 'train'"):
        SmallImages(folder, 16, "trains")
    with pytest.raises(UserError, match=r"part='held_out' of .* is empty; change held_out=0"):
        SmallImages(folder, 16, "held_out", 0.0)
    with pytest.raises(UserError, match="SmallPrompts per_split is -1"):
        SmallPrompts(folder, 16, per_split=-1)


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_captions_that_are_too_long_are_counted_and_one_is_told_with_its_image(folder, tmp_path, part):
    own = shutil.copytree(folder, tmp_path / "own")
    names = [c.split()[-1] for c in SmallImages(folder, 16, part, 0.2).captions][:2]
    for name in names:
        (own / f"{name}.txt").write_text("word " * 9)
    data, tokenizer = SmallImages(str(own), 16, "train", 0.2), PatchTokenizer(size=(16, 16), patch=4)
    data.check(tokenizer, TransformerText(width=8, heads=2, length=9))
    says = rf"2 of 60 captions .* of {names[0]}.png: .* 9 tokens .* reads 8; .* raise model.text_tokenizer.length"
    with pytest.raises(UserError, match=says):
        data.check(tokenizer, TransformerText(width=8, heads=2, length=8))


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ("train", "train_dataloader.dataset.size gives images of 48 x 48 pixels, and model.tokenizer reads 32 x 32"),
        ("test", r"the images of test_dataloader.dataset are \[3, 48, 48\], the tokenizer takes \[3, 32, 32\]"),
    ],
)
def test_images_of_another_size_than_a_tokenizer_that_is_trained_are_told_before_step_1(folder, tmp_path, loader, says):
    options = [f"source={folder}", "size=32", f"{loader}_dataloader.dataset.size=48", "train_cfg.max_iters=1"]
    runner = JEPATRunner.from_cfg(load_config("tokenizers/fsq_own", options, str(tmp_path)))
    with pytest.raises(UserError, match=says):
        runner.train()
    assert runner.iter == 0


def test_source_and_size_are_said_once_and_the_configs_are_whole(folder, tmp_path):
    options = [f"source={folder}", "size=32"]
    tokenizer_cfg, cfg = (load_config(name, options) for name in ("tokenizers/fsq_own", "jepat_own"))
    dataset = build(cfg.train_dataloader.dataset.to_dict(), DATASETS)
    training = build(tokenizer_cfg.model.to_dict(), MODELS)
    assert torch.isfinite(training(**dataset.__getitems__([0, 1]), mode="loss")["loss_reconstruction"])
    torch.save({"state_dict": training.state_dict()}, tmp_path / "tokenizer.pth")
    model_cfg = cfg.model.to_dict()
    model_cfg["image_tokenizer"]["checkpoint"] = str(tmp_path / "tokenizer.pth")
    model = build(model_cfg, MODELS)
    model.fit(dataset.images, dataset.captions)
    assert all(torch.isfinite(loss) for loss in model(**dataset.__getitems__([0, 1, 2]), mode="loss").values())
    prompts = build(cfg.test_dataloader.dataset.to_dict(), DATASETS)
    metric = build(cfg.test_evaluator.to_dict(), METRICS)
    metric.process(None, model(**prompts.__getitems__([0, len(prompts) - 1]), mode="predict"))
    assert {"seen/r1", "held_out/r1", "real/r1"} <= metric.compute_metrics(metric.results).keys()

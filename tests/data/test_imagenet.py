"""Class folders: every sample a function of files, seed and index; broken images replaced, counted and named."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent))
from image_files import damage, encoded, random_image, write_classes

from jepa_t.data import Captions, centre_crop, decode, keep_batch
from jepa_t.errors import UserError
from jepa_t.registry import DATASETS, build
from jepa_t.worlds.digits import InkedDigits

NAMES = ["tench", ["goldfish", "carp"], "great white shark"]
TEMPLATES = ["a photo of a {}", "{} in the wild", "a drawing of the {}", "this is a {}"]


def make(root, **options):
    defaults = {"size": 8, "names": NAMES, "templates": TEMPLATES, "report": str(root / "report")}
    return build({"type": "ImageNet", "root": str(root)} | defaults | options, DATASETS)


def test_images_labels_and_captions_belong_together(tmp_path):
    data = make(write_classes(tmp_path))
    assert len(data) == 18
    assert data.describe.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    batch = data.__getitems__([8, 0, 5])
    assert batch["inputs"].shape == (3, 3, 8, 8)
    assert batch["inputs"].dtype == torch.float32
    paths = [tmp_path / "train" / name for name in ("n00000002/1.JPEG", "n00000000/0.JPEG", "n00000001/2.JPEG")]
    expected = [np.asarray(centre_crop(decode(path), 8)).transpose(2, 0, 1) / 127.5 - 1 for path in paths]
    np.testing.assert_allclose(batch["inputs"], expected, atol=1e-6)
    assert batch["data_samples"]["caption"] == Captions(NAMES, TEMPLATES)([2, 0, 1], [8, 0, 5])


def test_the_second_half_is_mirrored_with_captions_of_its_own(tmp_path):
    data = make(write_classes(tmp_path, (20, 20, 20)))
    plain, mirrored = data.__getitems__(list(range(60))), data.__getitems__(list(range(60, 120)))
    assert torch.equal(mirrored["inputs"], plain["inputs"].flip(-1))
    captions = plain["data_samples"]["caption"], mirrored["data_samples"]["caption"]
    assert sum(one != other for one, other in zip(*captions, strict=True)) > 30
    assert len(make(tmp_path, flip=False)) == 60


def test_a_sample_depends_on_seed_and_index_alone(tmp_path):
    data, again, other = (make(write_classes(tmp_path)), make(tmp_path), make(tmp_path, seed=1))
    order = [17, 3, 3, 9]
    batch, alone = data.__getitems__(order), [again.__getitems__([index]) for index in order]
    assert torch.equal(batch["inputs"], torch.cat([one["inputs"] for one in alone]))
    captions = batch["data_samples"]["caption"]
    assert captions == [one["data_samples"]["caption"][0] for one in alone]
    assert captions[1] == captions[2]
    assert captions != other.__getitems__(order)["data_samples"]["caption"]


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_replaced_named_and_counted(tmp_path, workers):
    data = make(write_classes(tmp_path), max_broken=1.0)
    damage(tmp_path / "train" / "n00000001" / "2.JPEG")
    (tmp_path / "train" / "n00000002" / "0.JPEG").write_bytes(b"")
    loader = DataLoader(data, batch_size=6, num_workers=workers, collate_fn=keep_batch)
    batches = list(loader)
    inputs = torch.cat([batch["inputs"] for batch in batches])
    captions = [caption for batch in batches for caption in batch["data_samples"]["caption"]]
    assert inputs.shape == (18, 3, 8, 8)
    lines = {line for file in (tmp_path / "report").iterdir() for line in file.read_text().splitlines()}
    assert {line.split("\t")[0] for line in lines} == {"n00000001/2.JPEG", "n00000002/0.JPEG"}
    assert any("runcated" in line for line in lines)
    again = make(tmp_path, max_broken=1.0).__getitems__(list(range(18)))
    assert torch.equal(again["inputs"], inputs)
    assert again["data_samples"]["caption"] == captions
    sound = [index for index in range(18) if index % 9 not in (5, 7)]
    for index in (5, 7, 14, 16):  # the caption is the stand-in's, and a mirrored sample's stand-in is mirrored
        like = [i for i in sound if i // 9 == index // 9 and torch.equal(inputs[i], inputs[index])]
        assert like
        names = [name for label in data.describe.labels[[i % 9 for i in like]] for name in np.atleast_1d(NAMES[label])]
        assert any(name in captions[index] for name in names)


def read_in_a_worker(data, batches):
    """What a DataLoader's worker does, and then the process that started it."""
    try:
        for batch in batches:
            data.__getitems__(batch)
    except UserError:
        ExceptionWrapper(where="in DataLoader worker process 0").reraise()


def test_too_many_broken_images_stop_with_a_line_also_in_a_worker(tmp_path):
    data = make(write_classes(tmp_path, (30, 30, 30)), max_broken=0.2)
    for path in (tmp_path / "train").glob("*/1*.JPEG"):
        damage(path)
    with pytest.raises(UserError, match=r"^1\d of \d+ images .* max_broken=0.2: n0") as told:
        read_in_a_worker(data, np.arange(90).reshape(-1, 10).tolist())
    assert "\n" not in str(told.value)


def test_nothing_but_broken_images_ends(tmp_path):
    data = make(write_classes(tmp_path), max_broken=1.0)
    for path in (tmp_path / "train").glob("*/*.JPEG"):
        damage(path)
    with pytest.raises(UserError, match="100 images in turn are broken"):
        data.__getitems__([0])


def test_what_fitting_reads(tmp_path, monkeypatch):
    data = make(write_classes(tmp_path))
    assert torch.equal(data.images, data.__getitems__(list(range(9)))["inputs"])
    monkeypatch.setattr("jepa_t.data.image_dataset.SAMPLE", 4)
    assert data.images.shape == (4, 3, 8, 8)
    assert torch.equal(data.images, make(tmp_path).images)
    said = "\n".join(data.captions)
    assert all(name in said for name in ("tench", "goldfish", "carp", "great white shark"))
    assert all(template.replace("{}", "great white shark") in data.captions for template in TEMPLATES)
    assert len(data.captions) == 8


def test_imagenet_s_own_captions_are_few_to_check():
    assert len(Captions("imagenet", "imagenet").covering()) < 1200


@pytest.mark.parametrize("stem", ["", "class_"])
def test_numbered_folders_have_the_names_of_their_numbers(tmp_path, caplog, stem):
    names = {f"{stem}{number}": f"class {number}" for number in range(12)}
    for folder in names:
        (tmp_path / "train" / folder).mkdir(parents=True)
        (tmp_path / "train" / folder / "0.png").write_bytes(encoded(random_image()))
    for given in (names, list(names.values())):
        data = make(tmp_path, names=given, templates=["{}"], flip=False)
        said = dict(zip(data.names, data.__getitems__(list(range(12)))["data_samples"]["caption"], strict=True))
        assert said == {f"{folder}/0.png": name for folder, name in names.items()}
    assert f"sorted by their numbers: {stem}0, {stem}1, {stem}2" in caplog.text
    with pytest.raises(UserError, match=rf"names and the class folders of .* differ, such as in '{stem}3'"):
        make(tmp_path, names={folder: name for folder, name in names.items() if folder != f"{stem}3"})


def test_images_of_another_size_than_the_tokenizer_s_are_told_with_both_options(tmp_path):
    data, tokenizer = make(write_classes(tmp_path)), SimpleNamespace(grid=(2, 4), stride=4)
    with pytest.raises(UserError, match=r"dataset.size gives images of 8 x 8 pixels, and .* reads 8 x 16"):
        data.check(tokenizer, None)
    with pytest.raises(UserError, match=r"dataset.layout gives images of 16 x 8 pixels"):
        InkedDigits(10, layout="stacked").check(tokenizer, None)
    InkedDigits(10, layout="pairs").check(tokenizer, None)


def test_files_that_are_no_images_and_hidden_folders_are_left_out(tmp_path, caplog):
    train = write_classes(tmp_path) / "train"
    (train / "n00000000" / "notes.txt").write_text("x")
    (train / "n00000000" / ".0.JPEG.swp").write_text("x")
    (train / ".cache").mkdir()
    (train / "list.txt").write_text("x")
    assert len(make(tmp_path, flip=False)) == 9
    assert "1 files of" in caplog.text
    assert "1 files beside the class folders" in caplog.text
    assert "such as list.txt" in caplog.text
    assert "n00000000/notes.txt" in caplog.text


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"train' is no folder"):
        make(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"has no class folders; expected .*<class>/\*\.JPEG"):
        make(tmp_path)
    write_classes(tmp_path / "more")
    with pytest.raises(UserError, match=r"has 3 class folders and names has 1000; .*in the order n00000000, n00000001"):
        make(tmp_path / "more", names="imagenet")
    with pytest.raises(UserError, match="val' is no folder"):
        make(tmp_path / "more", split="val")
    with pytest.raises(UserError, match="max_broken is 2"):
        make(tmp_path / "more", max_broken=2)
    with pytest.raises(UserError, match="size is 0"):
        make(tmp_path / "more", size=0)
    (tmp_path / "more" / "train" / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"ImageNet: '.*loop' can't be followed \(Too many levels .*\); remove it"):
        make(tmp_path / "more")
    (tmp_path / "more" / "train" / "loop").unlink()
    (tmp_path / "more" / "train" / "n00000003").mkdir()
    with pytest.raises(UserError, match="n00000003' has no images"):
        make(tmp_path / "more", names=[*NAMES, "empty"])

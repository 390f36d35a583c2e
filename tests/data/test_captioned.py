"""A user's own images: a folder, a manifest and tar shards say the same; what doesn't fit is told in a line."""

import io
import json
import pickle
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from image_files import encoded, random_image

from jepa_t.data import own_captions
from jepa_t.data.decoding import centre_crop, to_inputs
from jepa_t.data.storage import PackedTexts
from jepa_t.errors import UserError
from jepa_t.registry import DATASETS, build

CAPTIONS = ["a red one", "zwei bl\u00e4ulich", "three\nlines of\ntext", "four", "five of them"]
LINES = [" ".join(caption.split()) for caption in CAPTIONS]


def make(source, report="report", **options):
    defaults = {"size": 8, "flip": False, "report": str(Path(source).parent / report)}
    return build({"type": "CaptionedImages", "source": str(source)} | defaults | options, DATASETS)


def write_folder(path):
    for number, caption in enumerate(CAPTIONS):
        place = path / ("a/b.c" if number % 2 else ".") / f"pic.{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(random_image(seed=number)))
        place.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def write_manifest(path):
    folder = write_folder(path.parent / "images")
    lines = [
        json.dumps({"image": str(p.relative_to(path.parent)), "caption": p.with_suffix(".txt").read_text("utf-8")})
        for p in sorted(folder.rglob("*.png"))
    ]
    path.write_text("\n\n".join(lines))
    return path


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            add(tar, name, data)
    return path


def write_shards(path, count=2, style=tarfile.GNU_FORMAT):
    path.mkdir()
    for shard in range(count):
        with tarfile.open(path / f"{shard:03d}.tar", "w", format=style) as tar:
            add(tar, "about.md", b"not a sample")
            for number in range(shard, len(CAPTIONS), count):
                key = f"./{'deep/' * 40}x{number}" if number == 3 else f"./d.1/x{number}"  # one of a long name
                add(tar, f"{key}.json", b"{}")
                add(tar, f"{key}.PNG", encoded(random_image(seed=number)))
                add(tar, f"{key}.seg.png", encoded(random_image(seed=9)))
                add(tar, f"{key}.txt", CAPTIONS[number].encode())
    return path


def shown(data):
    """Images by caption."""
    batch = data.__getitems__(list(range(len(data.names))))
    return dict(zip((" ".join(c.split()) for c in batch["data_samples"]["caption"]), batch["inputs"], strict=True))


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_folder_manifest_and_shards_show_the_same(tmp_path, style):
    folder, manifest = make(write_folder(tmp_path / "folder")), make(write_manifest(tmp_path / "list.jsonl"))
    shards = write_shards(tmp_path / "shards", style=style)
    sets = [folder, manifest, make(shards), make(shards / "*.tar"), pickle.loads(pickle.dumps(make(shards)))]
    expected = shown(folder)
    assert sorted(expected) == sorted(LINES)
    for data in sets:
        assert len(data) == 5
        found = shown(data)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[caption], expected[caption]) for caption in found)


def test_one_of_several_captions_is_drawn_for_each_index(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(random_image()))
    captions = [f"caption {number}" for number in range(4)]
    (tmp_path / "list.jsonl").write_text("\n".join([json.dumps({"image": "x.png", "caption": captions})] * 40))
    first, again, other = (
        make(tmp_path / "list.jsonl", flip=True, seed=seed).__getitems__(list(range(80)))["data_samples"]["caption"]
        for seed in (0, 0, 1)
    )
    assert set(first) == set(captions) == set(make(tmp_path / "list.jsonl").captions)
    assert first[:40] != first[40:]
    assert first == again != other


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "caption is empty"),
        (b" \n", "caption is empty"),
        (b"\xef\xbb\xbf", "caption is empty"),
        ("caf\u00e9".encode("latin-1"), "caption isn't in UTF-8: byte 0xe9 at position 3"),
        ("a dog".encode("utf-16"), "isn't in UTF-8"),
        ("a dog".encode("utf-16-le"), "holds '\\x00', which is no text"),
        (b"a \x1b[31mred dog", "holds '\\x1b'"),
        (None, "can't be read"),
    ],
)
def test_a_caption_that_cant_be_read_breaks_its_image(tmp_path, content, reason):
    data = make(write_folder(tmp_path / "folder"), max_broken=1.0)
    text = tmp_path / "folder" / "pic.0.txt"
    text.unlink() if content is None else text.write_bytes(content)
    batch = data.__getitems__(list(range(5)))
    assert LINES[0] not in batch["data_samples"]["caption"]
    assert len(data.captions) == 4
    (file,) = (tmp_path / "report").iterdir()
    assert file.read_text().startswith("pic.0.png\t")
    assert reason in file.read_text()


def test_captions_of_many_images_are_sampled_with_the_longest(monkeypatch):
    monkeypatch.setattr(own_captions, "COVERING", 50)
    texts = PackedTexts("word " * (number % 97) + str(number) for number in range(1000))
    found = own_captions.OwnCaptions(lambda number: [texts[number]], texts.sizes, 0).covering()
    assert len(found) <= 50
    assert sorted(map(len, texts))[-10:] == sorted(map(len, found))[-10:]
    assert texts[0] in found
    assert texts[999] in found


def test_an_image_without_caption_is_told(tmp_path):
    folder = write_folder(tmp_path / "folder")
    (folder / "a" / "alone.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 6 images in .*no caption, such as a/alone.jpg; put a .txt"):
        make(folder)
    with pytest.raises(UserError, match=r"1 of 1 images in .*x.tar have no caption, such as x.tar:k.jpg; put"):
        make(write_tar(tmp_path / "x.tar", {"k.jpg": b""}))


def test_images_go_with_the_longest_common_name_and_what_is_left_is_named(tmp_path, caplog):
    pairs = {"v1.5_b.png": "v1.5_b.txt", "v1.5_c.png": "v1.5_c.txt", "img_0.25.png": "img_0.25.txt", "x.png": "x.txt"}
    pairs |= {"y.large.png": "y.txt", "UP.PNG": "UP.TXT"}
    left = {"x.webp": b"another x", "x.seg.png": b"a mask", "x.json": b"{}", "loose.txt": b"no image"}
    files = {name: encoded(random_image(seed=number)) for number, name in enumerate(pairs)}
    files |= {text: name.encode() for name, text in pairs.items()} | left
    (tmp_path / "folder").mkdir()
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    for source in (tmp_path / "folder", write_tar(tmp_path / "x.tar", files)):
        caplog.clear()
        data = make(source)
        found = shown(data)
        assert found.keys() == pairs.keys()  # the text says whose it is
        for number, name in enumerate(pairs):
            assert torch.equal(found[name], to_inputs([np.asarray(centre_crop(random_image(seed=number), 8))])[0])
        (record,) = caplog.records
        assert re.search(r"4 files in .* are left out, such as .*(loose.txt|x.webp)", record.getMessage())


def test_images_are_mirrored_only_where_that_is_asked_for_and_said(tmp_path, caplog):
    folder = write_folder(tmp_path / "folder")
    assert len(build({"type": "CaptionedImages", "source": str(folder), "size": 8}, DATASETS)) == 5
    assert caplog.text == ""
    data = make(folder, flip=True)
    assert "left or right turn false" in caplog.text
    plain, mirrored = data.__getitems__([0, 1]), data.__getitems__([5, 6])
    assert torch.equal(mirrored["inputs"], plain["inputs"].flip(-1))
    assert mirrored["data_samples"] == plain["data_samples"]


def test_links_in_a_circle_are_named(tmp_path):
    folder = write_folder(tmp_path / "folder")
    (folder / "a" / "back").symlink_to(folder, target_is_directory=True)
    with pytest.raises(UserError, match=r"folder/a/back/?' is a link to a folder that it lies in; remove it"):
        make(folder)
    (folder / "a" / "back").unlink()
    (folder / "a" / "self").symlink_to("self")
    with pytest.raises(UserError, match=r"a/self' can't be followed \(Too many levels of symbolic links\); remove it"):
        make(folder)


def test_a_manifest_may_have_captions_that_are_no_text(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(random_image()))
    captions = [b'"caf\xe9"', rb'"\ud83d"', rb'"a \u0000 b"', b'"\xef\xbb\xbf fine  text "']
    lines = [b'{"image": "x.png", "caption": %s}' % caption for caption in captions]
    (tmp_path / "list.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    data = make(tmp_path / "list.jsonl", max_broken=1.0)
    assert data.captions == ["fine text"]
    assert set(data.__getitems__([0, 1, 2, 3])["data_samples"]["caption"]) == {"fine text"}
    assert "holds" in data.tally.reasons["x.png"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{'image': 1}", "line 3 is no JSON"),
        ('["a.jpg", "text"]', "line 3 names no image"),
        ('{"file": "a.jpg", "caption": "x"}', "line 3 names no image"),
        ('{"image": "a.jpg"}', "line 3 has the caption None"),
        ('{"image": "a.jpg", "caption": []}', r"line 3 has the caption \[\]"),
        ('{"image": "a.jpg", "caption": ["x", 3]}', "line 3 has the caption"),
        ("[" * 5000, "line 3 is no JSON"),
        ("1" * 5000, "line 3 is no JSON"),
        ("\x00{", r"line 3 is no JSON: .*; is it in UTF-8\?"),
    ],
)
def test_a_malformed_line_is_told_with_its_number(tmp_path, line, says):
    good = '{"image": "a.jpg", "caption": "x"}'
    (tmp_path / "list.jsonl").write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(UserError, match=f"list.jsonl, {says}") as told:
        make(tmp_path / "list.jsonl")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("image", ["1.png", "below/1.png"])
def test_a_folder_with_shards_and_images_is_refused(tmp_path, image):
    shards = write_shards(tmp_path / "mixed")
    (shards / image).parent.mkdir(exist_ok=True)
    (shards / image).write_bytes(encoded(random_image()))
    with pytest.raises(UserError, match=rf"shards, such as 000.tar, and images, such as {image}; .*mixed/\*.tar' for"):
        make(shards)
    assert len(make(shards / "*.tar")) == 5


def test_sources_without_images_are_told(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder' has no images"):
        make(tmp_path / "folder")
    with pytest.raises(UserError, match="absent"):
        make(tmp_path / "nothing")
    with pytest.raises(UserError, match="names no tar"):
        make(tmp_path / "*.tar")
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match="uncompressed"):
        make(tmp_path / "x.tar.gz")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        make(tmp_path / "empty.jsonl")
    with tarfile.open(tmp_path / "none.tar", "w") as tar:
        add(tar, "k.txt", b"text")
    with pytest.raises(UserError, match=r"none.tar has no images"):
        make(tmp_path / "none.tar")


@pytest.mark.parametrize("left", [700, 2000, 3000])
def test_a_shard_that_is_cut_off_is_named(tmp_path, left):
    path = write_shards(tmp_path / "shards", 1) / "000.tar"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match=r"shard '.*000.tar' is damaged or no tar file"):
        make(path)


def test_packed_texts_are_what_was_packed():
    texts = ["", "a", "\u00e4\u4e2d", "b\udcff.jpg", ""]
    packed = PackedTexts(texts)
    assert list(packed) == texts
    assert packed.sizes.tolist() == [0, 1, 5, 8, 0]
    with pytest.raises(IndexError):
        packed[5]

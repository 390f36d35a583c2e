"""Folders and packed files of images: written whole, read the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_features import write_folder

from jepa_t.errors import UserError
from jepa_t.evaluation.images import Files, blocks, open_images, pack, read, write_images


def pixels(source, **options):
    return [image for _, batch in read(open_images(source, **options), 3) for image in batch]


def test_what_is_written_is_read(tmp_path):
    images = torch.randint(0, 256, (5, 3, 6, 4), dtype=torch.uint8)
    write_images(tmp_path, [7, 3, 100000, 8, 1], images)
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "100000.png"
    found = read(Files([tmp_path / f"{index:06d}.png" for index in (7, 3, 100000, 8, 1)]), 2)
    assert [indices for indices, _ in found] == [[0, 1], [2, 3], [4]]
    assert torch.equal(torch.stack(pixels(tmp_path)), images[[4, 1, 0, 3, 2]])


def test_a_packed_file_holds_the_folder(tmp_path):
    write_folder(tmp_path / "folder", 7, seed=0)
    pack(open_images(tmp_path / "folder"), tmp_path / "packed.npz")
    expected = torch.stack(pixels(tmp_path / "folder"))
    array = np.load(tmp_path / "packed.npz")["arr_0"]
    assert array.dtype == np.uint8
    assert torch.equal(torch.from_numpy(array).permute(0, 3, 1, 2), expected)
    np.savez(tmp_path / "adm.npz", array, np.zeros(7))
    np.savez_compressed(tmp_path / "small.npz", arr_0=array)
    for name in ("packed", "adm", "small"):
        assert torch.equal(torch.stack(pixels(tmp_path / f"{name}.npz")), expected)


def test_a_folder_is_read_with_its_subfolders_and_can_be_cut(tmp_path):
    write_folder(tmp_path / "b", 2, seed=0, side=12)
    Image.new("L", (20, 10), 90).save(tmp_path / "a.jpg")
    (tmp_path / ".b.png.tmp").write_bytes(b"unfinished")
    (tmp_path / "settings.json").write_text("{}")
    assert [tuple(p.shape) for p in pixels(tmp_path)] == [(3, 10, 20), (3, 12, 12), (3, 12, 12)]
    assert [tuple(p.shape) for p in pixels(tmp_path, size=8)] == [(3, 8, 8)] * 3


def test_sheets_beside_a_folder_of_images_are_left_out(tmp_path, caplog):
    """As jepa-t sample writes them."""
    write_folder(tmp_path / "images", 2, seed=0, side=12)
    Image.new("RGB", (50, 50)).save(tmp_path / "samples.png")
    assert [tuple(p.shape) for p in pixels(tmp_path)] == [(3, 12, 12)] * 2
    assert "left out are 1 images beside it, such as" in caplog.text
    assert "samples.png" in caplog.text


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_processes_share_all_in_the_same_blocks(count, size, processes):
    shares = [list(blocks(count, size, rank, processes)) for rank in range(processes)]
    assert sorted((block for share in shares for block in share), key=lambda b: b.start) == list(blocks(count, size))
    assert sorted(i for share in shares for block in share for i in block) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_files_that_are_no_images_are_counted(tmp_path, caplog):
    write_images(tmp_path, [0], torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    (tmp_path / "notes.txt").touch()
    assert len(open_images(tmp_path)) == 1
    assert "1 files that are no images, such as" in caplog.text


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="no images in"):
        open_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.png' can't be read.*remove it"):
        pixels(tmp_path)
    np.savez(tmp_path / "b.npz", mu=np.zeros(3))
    with pytest.raises(UserError, match="holds no arr_0: mu"):
        open_images(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", np.zeros((2, 4, 4, 3)))
    with pytest.raises(UserError, match="images are uint8"):
        open_images(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged"):
        open_images(tmp_path / "d.npz")
    write_folder(tmp_path / "e", 1, seed=0, side=12)
    Image.new("RGB", (9, 9)).save(tmp_path / "e" / "z.png")
    with pytest.raises(UserError, match="one size"):
        pack(open_images(tmp_path / "e"), tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()

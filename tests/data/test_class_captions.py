"""Captions of class labels: a function of seed, index and label, in words that open_clip agrees with."""

import collections
import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.data import Captions
from jepa_t.data.class_captions import IMAGENET
from jepa_t.errors import UserError

NAMES = ["tench", ["great white shark", "white shark"], "zebra"]
TEMPLATES = ["a photo of a {}", "a drawing of the {}.", "{}!"]


def test_the_files_are_what_open_clip_has():
    """Names in ImageNet's order; the prompt is no "a photo of class <int>"."""
    metadata = importlib.import_module("open_clip.zero_shot_metadata")
    captions = Captions("imagenet", "imagenet")
    assert [names for (names,) in captions.names] == list(metadata.IMAGENET_CLASSNAMES)
    assert captions.templates == [template("{}") for template in metadata.OPENAI_IMAGENET_TEMPLATES]
    assert (len(captions.names), len(captions.templates)) == (1000, 80)
    assert captions.names[0] == ("tench",)
    for path in IMAGENET.values():
        assert "From open_clip_torch" in path.read_text("utf-8")
        assert "MIT licence" in path.read_text("utf-8")


@given(
    st.integers(-5, 2**40),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**40)), min_size=1, max_size=20),
)
def test_a_caption_depends_on_seed_index_and_label_alone(seed, images):
    captions = Captions(NAMES, TEMPLATES, seed)
    labels, indices = zip(*images, strict=True)
    together = captions(labels, indices)
    assert together == [captions([label], [index])[0] for label, index in images]
    for caption, label in zip(together, labels, strict=True):
        names = [NAMES[label]] if isinstance(NAMES[label], str) else NAMES[label]
        assert caption in [template.format(name) for template in TEMPLATES for name in names]


def test_names_and_templates_are_chosen_evenly_and_apart():
    captions = Captions(NAMES, TEMPLATES)(np.ones(6000, int), np.arange(6000))
    counts = collections.Counter(captions)
    assert len(counts) == 6
    assert min(counts.values()) > 900
    assert Captions(NAMES, TEMPLATES, seed=1)(np.ones(6000, int), np.arange(6000)) != captions


def test_folders_that_are_numbers_are_sorted_as_numbers():
    names = {str(number): f"class {number}" for number in (10, 2, 0, 11)}
    assert Captions(names).names == [("class 0",), ("class 2",), ("class 10",), ("class 11",)]
    assert Captions({"b": "bee", "a": ["ant", "emmet"]}).names == [("ant", "emmet"), ("bee",)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("cat\ncaf\u00e9".encode("latin-1"), "line 2 isn't in UTF-8: byte 0xe9 at position 3; save the file as UTF-8"),
        ("cat\ndog".encode("utf-16-le"), r"line 1 holds '\\x00', which is no text"),
        (b"cat\nd\x1bog", r"line 2 holds '\\x1b'"),
    ],
)
def test_files_that_are_no_text_are_told_with_the_line(tmp_path, content, says):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"Captions names: .*names.txt, {says}"):
        Captions(str(tmp_path / "names.txt"))


def test_a_text_file_of_ones_own(tmp_path):
    (tmp_path / "names.txt").write_text("\ufeff# animals\ncat\r\n\n  {dog}  \n", "utf-8")
    assert Captions(str(tmp_path / "names.txt"))([0, 1], [0, 1]) == ["a photo of a cat", "a photo of a {dog}"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"names": []}, "names is empty"),
        ({"names": ["cat", ""]}, "class 1 is"),
        ({"names": ["cat", []]}, "class 1 is"),
        ({"names": "imagnet"}, "names='imagnet' is no file; give a list, a text file or 'imagenet'"),
        ({"templates": []}, "templates is empty"),
        ({"names": 5}, "names is 5; give a list"),
        ({"names": [1, 2]}, r"class 0 is \(1,\); give it a name"),
        ({"templates": [1]}, "1 needs one {} for the name"),
        ({"templates": ["a photo"]}, "'a photo' needs one {} for the name"),
    ],
)
def test_wrong_words_are_told(options, says):
    with pytest.raises(UserError, match=says):
        Captions(**({"names": NAMES} | options))


@pytest.mark.parametrize(
    ("labels", "indices", "says"),
    [
        ([3], [0], "label 3 has no name"),
        ([-1], [0], "label -1"),
        ([1, 2], [0], "one of each per image"),
        (["a"], [0], "labels such as .*'a'.* are no whole numbers"),
        ([0.9], [0], "labels such as .*0.9.* are no whole numbers"),
        ([0], [0.5], "indices such as .*0.5.* are no whole numbers"),
        ([0], [-1], "index -1 is below 0"),
    ],
)
def test_wrong_labels_are_told(labels, indices, says):
    with pytest.raises(UserError, match=says):
        Captions(NAMES)(labels, indices)

"""The package as a whole: light to import, without stray output or hard-coded devices."""

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import jepa_t

FILES = sorted(Path(jepa_t.__file__).parent.rglob("*.py"))
HEAVY = ["torchvision", "timm", "open_clip", "xformers", "sklearn", "cv2", "mmengine.runner"]


def imported(source):
    """Which heavy packages a fresh Python has loaded after running ``source``."""
    source += f"\nimport sys\nsys.stdout.write(' '.join(m for m in {HEAVY} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_package_or_its_public_names_loads_nothing_heavy():
    assert imported("import jepa_t\nassert 'torch' not in __import__('sys').modules") == []
    assert imported("import jepa_t\nfor name in jepa_t.__all__: getattr(jepa_t, name)") == []
    assert imported("import jepa_t.data, jepa_t.worlds") == []


@pytest.mark.parametrize("name", jepa_t.__all__)
def test_every_public_name_resolves_and_explains_itself(name):
    value = getattr(jepa_t, name)
    assert value is not None
    assert isinstance(value, type) is False or value.__doc__
    assert name in dir(jepa_t)


def test_editors_see_the_public_names():
    """The lazy names once more, where a type checker reads them."""
    tree = ast.parse(Path(jepa_t.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(name.name, name.asname): node.module for node in block.body[:-1] for name in node.names}
    assert seen == {(name, name): home for name, home in jepa_t._HOMES.items()}
    assert (Path(jepa_t.__file__).parent / "py.typed").exists()
    assert jepa_t.__version__ == version("jepa_t")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        jepa_t.Nothing  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("jepa_t.nothing")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_file_prints_or_names_a_device(path):
    """In the public code device calls were hard-coded."""
    source = path.read_text()
    assert path.parent.name == "cli" or not re.search(r"(?<![\w.])print\(", source)
    assert ".cuda(" not in source


def test_what_the_site_is_made_of_is_kept():
    """The site's own code was once hidden from git by a pattern that meant the built site."""
    root = Path(__file__).parents[1]
    told = [(root / name).read_text() for name in ("mkdocs.yml", "CONTRIBUTING.md")]
    named = set(re.findall(r"\b(?:docs/)?site/\w+\.(?:py|js)\b", " ".join(told)))
    named = {f"docs/{name.removeprefix('docs/')}" for name in named}
    assert {Path(name).stem for name in named} >= {"hooks", "roles", "mathjax"}
    assert [name for name in named if not (root / name).is_file()] == []
    if (root / ".git").exists():
        kept = subprocess.run(["git", "ls-files", "docs"], cwd=root, capture_output=True, text=True, check=True).stdout
        assert named <= set(kept.split())

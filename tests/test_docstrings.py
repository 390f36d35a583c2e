"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import jepa_t

PACKAGE = Path(jepa_t.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))
NAMES = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for file in FILES]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not found.failed, "the output above says what differs"


@pytest.mark.parametrize("name", [name for name in jepa_t.__all__ if isinstance(getattr(jepa_t, name), type)])
def test_every_public_class_has_an_example(name):
    assert ">>> " in getattr(jepa_t, name).__doc__

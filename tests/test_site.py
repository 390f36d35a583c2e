"""What makes the site: links that hold on it, and the check of sentences."""

import importlib.util

import pytest
from pages import ROOT

WORDS = " ".join(["word"] * 41)


def module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"Short. {WORDS}.", 1),
        (f"- {WORDS}\n- {WORDS}", 2),
        (f"| a | {'x' * 201} |\n|---|---|\n| {'x' * 200} | b |", 1),
        (f"```\n{WORDS}\n```\n\n$$ {WORDS} $$", 0),
        (f"{WORDS[:100]}.\n\n{WORDS[:100]}", 0),
    ],
)
def test_long_sentences_and_wide_cells_are_told(tmp_path, capsys, text, found):
    page = tmp_path / "folder" / "page.md"
    page.parent.mkdir()
    page.write_text(text)
    assert module("prose").main([str(tmp_path)]) == bool(found)
    assert len(capsys.readouterr().out.splitlines()) == max(found, 1)


def test_links_hold_on_the_site():
    rewritten = pytest.importorskip("mkdocs") and module("hooks").rewritten
    assert (
        rewritten("[a](docs/text.md#x), [b](jepa_t/ema.py), `[c](d.md)`", "index.md")
        == "[a](text.md#x), b, `[c](d.md)`"
    )
    assert rewritten("[a](../README.md) [b](https://x.org)", "text.md") == "[a](index.md) [b](https://x.org)"

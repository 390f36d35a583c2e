"""The pages of docs/: what their code blocks say is true."""

import pytest
from pages import ROOT, Block, blocks, commands, parse, restored, run, wrong_options

from jepa_t.errors import UserError

PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name not in ("benchmarks", "cards"))
PAGES += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
LANGUAGES = {"python", "sh", "text", "bibtex", ""}


def of(language, pages=PAGES):
    return [page for page in pages if any(block.language in language for block in blocks(page))]


@pytest.mark.parametrize("page", of({"python"}), ids=lambda page: page.stem)
def test_python_blocks_run_and_name_components_that_exist(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {"__name__": page.stem}
    with restored():
        for block in blocks(page):
            assert block.language in LANGUAGES, f"{page}:{block.line}"
            assert block.mark in ("", "not-run"), f"{page}:{block.line}"
            if block.language == "python" and not block.mark:
                run(block, names)
        for block in blocks(page):
            if block.language == "python":
                assert wrong_options(block.code) == [], f"{page}:{block.line}"


@pytest.mark.parametrize("page", of({"sh", ""}), ids=lambda page: page.stem)
def test_commands_of_shell_blocks_exist_with_these_options(page):
    for block in blocks(page):
        for words in commands(block) if block.language in ("sh", "") and not block.mark else ():
            parse(words)


@pytest.mark.parametrize(
    "code",
    ["dict(type='CrossAttention', haeds=4)", "x = dict(a=dict(type='CrosAttention'))", "dict(type='euler', y=1)"],
)
def test_a_wrong_component_is_seen(code):
    assert len(wrong_options(code)) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("PYTHONPATH=. jepa-t train jepat_digits --wrok-dir x  # y", "--wrok-dir"),
        ("srun python -m jepa_t test jepat_digit", "jepat_digits"),
        ("jepa-t train jepat_own --cfg-options source=x siez=32 | cat", "size"),
        ("jepa-t sample emoji \\\n  'a fox' --cuont 3", "--cuont"),
    ],
)
def test_a_wrong_command_is_seen(line, says):
    ((words),) = commands(Block(ROOT, 1, "sh", "", line))
    with pytest.raises(UserError, match=says):
        parse(words)

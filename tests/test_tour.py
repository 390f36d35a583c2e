"""The tour: its page is the notebook. What the page's blocks say is run with those of all pages."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK, PAGE = ROOT / "examples" / "tour.ipynb", ROOT / "docs" / "tutorials" / "tour.md"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_the_page_says_what_the_notebook_says_and_shows_its_images():
    text, place = PAGE.read_text(), 0
    for cell in CELLS:
        place = text.index("".join(cell["source"]), place)
        for output in cell.get("outputs", ()):
            assert output["output_type"] != "error"
    images = re.findall(r"!\[what the cell shows\]\((.+?)\)", text)
    assert len(images) >= 3
    assert all((PAGE.parent / name).is_file() for name in images)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_in_a_kernel_of_its_own():
    pytest.importorskip("nbclient", reason="nbclient isn't installed")
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "tools" / "run_notebook.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text, images = tool.page(tool.execute(NOTEBOOK), "tour")
    assert len(images) == PAGE.read_text().count("![")
    assert text.count("```python") == PAGE.read_text().count("```python")

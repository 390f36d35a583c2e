"""Run a notebook and write what it shows, and the same as a page: python tools/run_notebook.py examples/tour.ipynb

The notebook is the one source of both: edit its cells, run this, commit the notebook, the page and its images.
"""

import base64
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PAGES = Path(__file__).parents[1] / "docs" / "tutorials"


def execute(source: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells show, of images the PNG; an error in one of them is raised."""
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        cell.metadata.clear()
    NotebookClient(notebook, timeout=None, record_timing=False).execute(cwd=str(source.parent))
    for cell in notebook.cells:
        kept = [shown for shown in cell.get("outputs", ()) if shown.get("name") != "stderr"]
        for shown in kept:
            shown.get("data", {}).pop("image/jpeg", None)
        if cell.cell_type == "code":
            cell.outputs = kept
    return notebook


def page(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, and its images by their files' names."""
    parts, images = [], {}
    for cell in notebook.cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        for shown in cell.get("outputs", ()):
            data = shown.get("data", {})
            if "image/png" in data:
                file = f"{name}_{len(images) + 1}.png"
                images[file] = base64.b64decode(data["image/png"])
                parts.append(f"![what the cell shows]({file})")
            elif text := shown.get("text") or data.get("text/plain"):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", images


def main(path: str) -> None:
    """Run, write."""
    source = Path(path)
    notebook = execute(source)
    nbformat.write(notebook, source)
    text, images = page(notebook, source.stem)
    (PAGES / f"{source.stem}.md").write_text(text)
    for file, data in images.items():
        (PAGES / file).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1])

"""Images and lines as HTML that holds all of itself: nothing is written to a file, nothing is asked for afterwards."""

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image


def line(text: str, wrong: bool = False) -> str:
    """A line for people."""
    return f'<p class="said{" wrong" * wrong}">{escape(text)}</p>'


def figures(images: Sequence[tuple[str, Image.Image]], kind: str) -> str:
    """Images side by side, each above its name, by which it is saved.

    Args:
        images: Names and images.
        kind: The class of the whole, for the style sheet.
    """
    made = []
    for name, image in images:
        file = io.BytesIO()
        image.save(file, "png")
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        shown = f'<a download="{escape(name)}.png" href="{source}"><img src="{source}" alt="{escape(name)}"></a>'
        made.append(f"<figure>{shown}<figcaption>{escape(name)}</figcaption></figure>")
    return f'<div class="figures {kind}">{"".join(made)}</div>'

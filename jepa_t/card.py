"""The card of a model that is shared: what it draws, from which data, under which licence, and how well."""

import hashlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import UserError
from .files import read_json, weights_hash, write_atomically
from .hub import SHEET
from .saved import CARD, CONFIG, WEIGHTS
from .sheets import contact_sheet, enlarge

if TYPE_CHECKING:
    from .pipeline import Pipeline

FRONT = re.compile(r"(---\n.*?\n---\n)?", re.DOTALL)  # what a hub reads of a card
COPY = "> This is a copy of the model that the card below describes, which is word for word the original's."
TEMPLATE = """---
library_name: jepa_t
pipeline_tag: text-to-image
license: $licence
---
# $name

Draws images of $pixels pixels from text, by JEPA-T (arXiv 2510.00974): $parameters weights, $size.

```python
from jepa_t import Pipeline

draw = Pipeline.from_pretrained("$name")
draw($example, seeds=[0]).images[0].save("image.png")
```

$sheet
## Data and licence

Data: $data. Licence of the weights: $licence.

## Training

$training

| part | |
|---|---|
$parts

## Figures

$figures

Config SHA-256 $config; averaged weights SHA-256 $weights; written by jepa_t $version, commit $commit.
"""


@dataclass(frozen=True)
class Card:
    """What a card says that the weights don't know.

    Args:
        name: By which others load the model; by default its folder's.
        data: What the model was trained on, a sentence's worth.
        licence: Of the weights, as the hub names it, such as ``cc-by-4.0``.
        metrics: What ``jepa-t test`` wrote: the figures, and what the training took.
        captions: Drawn with seeds 0, 1, ... on a sheet, ``samples.png``; the first is the card's example. A text
            is one caption.
        template: The text, where ``$figures``, ``$config`` and other facts are filled in.
    """

    name: str = ""
    data: str = "not said"
    licence: str = "unknown"
    metrics: Mapping[str, Any] | None = None
    captions: Sequence[str] = ()
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        if isinstance(self.captions, str):
            object.__setattr__(self, "captions", (self.captions,))

    def write(self, folder: str | Path, draw: "Pipeline") -> None:
        """Write ``README.md`` and the sheet beside a saved model.

        Args:
            folder: The model's.
            draw: It, as it was read from there.

        Raises:
            UserError: The template asks for what isn't there, or a caption can't be drawn.
        """
        folder = Path(folder)
        text = self.render(self._facts(folder, draw))
        if self.captions:
            images = [enlarge(image) for image in draw(self.captions, range(len(self.captions))).images]
            sheet = contact_sheet(images, self.captions)
            write_atomically(folder / SHEET, lambda file: sheet.save(file, "png"))
        write_atomically(folder / CARD, lambda file: file.write(text.encode()))

    def render(self, facts: Mapping[str, str]) -> str:
        """The template with the facts filled in."""
        try:
            return Template(self.template).substitute(facts)
        except (KeyError, ValueError) as error:
            raise UserError(f"the card: {error} can't be filled in; there are: {', '.join(facts)}") from error

    def _facts(self, folder: Path, draw: "Pipeline") -> dict[str, str]:
        config, metrics, tokenizer = draw.config or {}, self.metrics or {}, draw.model.image_tokenizer
        caption = self.captions[0] if self.captions else "a caption of yours"
        weights = sum(value.numel() for value in draw.model.ema.parameters())
        steps, seconds = metrics.get("train_steps"), metrics.get("train_seconds")
        return {
            "name": self.name or folder.name,
            "pixels": " x ".join(str(side * tokenizer.stride) for side in tokenizer.grid[::-1]),
            "data": self.data,
            "licence": self.licence,
            "caption": caption,
            "example": repr(caption),
            "sheet": f"![{escaped('; '.join(self.captions))}]({SHEET})\n" if self.captions else "",
            "training": f"{steps:,} steps in {seconds / 60:.0f} minutes." if steps and seconds else "Not said.",
            "parts": "\n".join(f"| {part} | {kinds(value)} |" for part, value in config.items() if kinds(value)),
            "figures": figures_table(metrics) if metrics else "None were given.",
            "config": hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest(),
            "weights": weights_hash(draw.model.ema),
            "version": __version__,
            "commit": commit(),
            "size": file_size(folder),
            "parameters": f"{weights / 1e6:.2f} million",
        }


def pass_on(text: str, folder: str | Path, name: str, weights: str, sheet: bytes | None) -> None:
    """Write the card that a model came with, and its sheet, beside a saved copy of the model.

    Where it doesn't say the copy's own name, size and hash, a line ahead of it does.

    Args:
        text: The card.
        folder: The copy's.
        name: By which others load the copy.
        weights: The hash of the copy's averaged weights.
        sheet: The file, if there is one.
    """
    folder, size = Path(folder), file_size(Path(folder))
    text = re.sub(f"^{re.escape(COPY)}.*\n\n?", "", text, flags=re.MULTILINE)
    if not all(said in text for said in (f'from_pretrained("{name}")', f" {size}", weights)):
        front = FRONT.match(text).end()  # type: ignore[union-attr]  # it always matches
        line = f"{COPY} The copy is loaded as `{name}`; its file has {size}; averaged weights SHA-256 {weights}."
        text = f"{text[:front]}{line}\n\n{text[front:]}"
    write_atomically(folder / CARD, lambda file: file.write(text.encode()))
    if sheet is not None:
        write_atomically(folder / SHEET, lambda file: file.write(sheet))


def file_size(folder: Path) -> str:
    """The size of a saved model's weights, as a card says it."""
    return f"{(folder / WEIGHTS).stat().st_size / 1e6:.1f} MB"


def escaped(text: str) -> str:
    """A text that may stand in the brackets of a Markdown link."""
    return re.sub(r"([\\\[\]])", r"\\\1", text)


def kinds(value: Any) -> str:
    """The names of the components in a part of a config: ``FlowMatching, FeaturePrediction``."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) and value != "JEPAT" else ""
    own = value.get("type")
    return own if isinstance(own, str) else ", ".join(filter(None, map(kinds, value.values())))


def figures_table(figures: Mapping[str, Any]) -> str:
    """Figures named ``<split>/<figure>``, among other facts, as a Markdown table, a line for each split."""
    parts = [name.split("/") for name, value in figures.items() if name.count("/") == 1 and isinstance(value, float)]
    columns, rows = (list(dict.fromkeys(part[place] for part in parts)) for place in (1, 0))
    lines = [["split", *columns], ["---"] * (len(columns) + 1)]
    for row in rows:
        cells = [figures.get(f"{row}/{column}") for column in columns]
        lines.append([row, *("" if cell is None else f"{cell:.3g}" if cell < 0.1 else f"{cell:.3f}" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_metrics(path: str | Path) -> dict[str, Any]:
    """What ``jepa-t test`` wrote.

    Raises:
        UserError: It is no such file.
    """
    return read_json(path, "give the metrics.json of jepa-t test")


def commit() -> str:
    """The commit of the checkout that this code is part of, or ``unknown``: a repository around it may be another's."""
    file = Path(__file__)
    asked = (["ls-files", "--error-unmatch", file.name], ["rev-parse", "HEAD"])
    commands = [["git", "-C", str(file.parent), *words] for words in asked]
    try:
        said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
        return said[-1].strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

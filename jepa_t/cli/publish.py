"""Write a trained model as a folder to ship: config, weights in half precision, and a model card."""

import hashlib
import json
import subprocess
from argparse import ArgumentParser, Namespace
from pathlib import Path
from string import Template
from typing import Any

import torch

from .. import __version__
from ..errors import UserError
from ..files import weights_hash, write_atomically
from ..pipeline import Pipeline
from ..saved import CONFIG, WEIGHTS


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``publish`` takes."""
    parser.add_argument("checkpoint", help="a .pth file or a work dir (its newest)")
    parser.add_argument("folder", help="where to write, such as jepa_t/weights/emoji")
    parser.add_argument(
        "--card", required=True, help="the card as a template; $figures, $config and others are filled in"
    )
    parser.add_argument(
        "--metrics", required=True, help="figures of the published weights: metrics.json of jepa-t test"
    )


def run(args: Namespace) -> None:
    """Save the model, and describe it in a card."""
    folder, pipeline = Path(args.folder), Pipeline.from_pretrained(args.checkpoint, device="cpu")
    pipeline.save_pretrained(folder, torch.float16)
    saved = Pipeline.from_pretrained(folder, device="cpu")
    facts = {
        "figures": figures_table(json.loads(Path(args.metrics).read_text())),
        "config": hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest(),
        "weights": weights_hash(saved.model.ema),
        "version": __version__,
        "commit": commit(),
        "size": f"{(folder / WEIGHTS).stat().st_size / 1e6:.1f} MB",
        "parameters": f"{sum(value.numel() for value in saved.model.ema.parameters()) / 1e6:.2f} million",
    }
    try:
        card = Template(Path(args.card).read_text()).substitute(facts)
    except (KeyError, ValueError) as error:
        raise UserError(f"{args.card}: {error} can't be filled in; there are: {', '.join(facts)}") from error
    write_atomically(folder / "README.md", lambda file: file.write(card.encode()))
    print(f"{folder}: {facts['size']}")


def figures_table(figures: dict[str, Any]) -> str:
    """Figures named ``<split>/<figure>``, among other facts, as a Markdown table, a line for each split."""
    parts = [name.split("/") for name, value in figures.items() if name.count("/") == 1 and isinstance(value, float)]
    columns, rows = (list(dict.fromkeys(part[place] for part in parts)) for place in (1, 0))
    lines = [["split", *columns], ["---"] * (len(columns) + 1)]
    for row in rows:
        cells = [figures.get(f"{row}/{column}") for column in columns]
        lines.append([row, *("" if cell is None else f"{cell:.3g}" if cell < 0.1 else f"{cell:.3f}" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def commit() -> str:
    """The commit of the checkout that this code is in, or ``unknown``."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

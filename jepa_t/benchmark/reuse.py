"""A trained run's encoder and predictor, handed to another run that keeps them as they are."""

from pathlib import Path

import torch
from mmengine.config import Config

from ..ema import FREEZABLE
from ..errors import UserError
from ..files import find_checkpoint, load_checkpoint, write_atomically

ANEW = "text_tokenizer", "fusion", "objectives"  # what the other run trains from nothing


def take_backbone(cfg: Config, folder: Path) -> None:
    """Let a run that has a ``backbone`` begin with the averaged weights of the run of that hash.

    Args:
        cfg: Of the run; its ``backbone`` becomes ``load_from``.
        folder: Of the run; the other's lies beside it.

    Raises:
        UserError: The other run wasn't finished.
    """
    first = folder.parent / cfg.pop("backbone")
    if not (first / "record.json").is_file():
        raise UserError("the run whose backbone it takes has failed")
    weights = load_checkpoint(find_checkpoint(str(first)))["state_dict"]
    kept = {name: value for name, value in weights.items() if name.startswith("image_tokenizer.")}
    for name, value in weights.items():
        if name.startswith(tuple(f"ema.{part}." for part in FREEZABLE)):
            kept |= {name: value, f"network.{name.removeprefix('ema.')}": value}
    meta = {"starts_fresh": [f"{place}.{part}." for place in ("network", "ema") for part in ANEW]}
    file = folder / "backbone.pth"
    write_atomically(file, lambda out: torch.save({"state_dict": kept, "meta": meta}, out))
    cfg.load_from = str(file)

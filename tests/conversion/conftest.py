"""What a conversion needs beside the checkpoint, in the real formats."""

import pytest
import torch
from tiny_text import saved

NAMES = ["tench", "goldfish", "great white shark", "hen", "cock"]


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """An autoencoder like KL-16 in all but width, names of the classes, a text encoder."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sources")
    down, up = ("DownEncoderBlock2D",) * 5, ("UpDecoderBlock2D",) * 5
    sizes = {"block_out_channels": (4,) * 5, "norm_num_groups": 4, "latent_channels": 16}
    AutoencoderKL(down_block_types=down, up_block_types=up, **sizes).save_pretrained(folder / "kl")
    (folder / "names.txt").write_text("\n".join(NAMES))
    text = {"model": saved("open_clip"), "length": 8, "cache": None}
    return {
        "djepa": {"image_tokenizer": str(folder / "kl"), "names": str(folder / "names.txt")},
        "jepat": {"image_tokenizer": str(folder / "kl"), "text_encoder": text},
    }

"""MAR's autoencoder as a folder of diffusers."""

from collections import Counter
from pathlib import Path

from ..errors import LARGEST, UserError
from ..files import new_folder
from ..tokenizers.ldm import is_autoencoder, load_ldm, read_ldm
from .network import SCALE, Row


def convert_autoencoder(source: str, out: str | Path, scale: float = SCALE) -> list[Row]:
    """Write the folder ``out``, as diffusers' ``AutoencoderKL.save_pretrained``, from an LDM-style file.

    Args:
        source: Such as MAR's KL-16, whose tensors lie under ``model``.
        out: A folder that doesn't exist yet, or is empty.
        scale: What latents are multiplied by; it is kept in the folder's config, where ``KLTokenizer`` finds it.

    Returns:
        The account of the file's tensors.

    Raises:
        UserError: The file is no such autoencoder, the scale isn't above 0, or the folder holds something.
    """
    if not 0 < scale < LARGEST:
        raise UserError(f"--scale is {scale}; it must be a number above 0")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{str(out)!r} holds something; give a new folder")
    model = load_ldm(source, "mar-vae")
    model.register_to_config(scaling_factor=scale)
    with new_folder(out) as unfinished:
        model.save_pretrained(unfinished)
    parts: Counter[tuple[str, bool]] = Counter(
        (name.removeprefix("first_stage_model.").split(".")[0], is_autoencoder(name)) for name in read_ldm(source)
    )
    return [
        Row(part, count, part if ours else "", count if ours else 0, "" if ours else "not of the autoencoder; left out")
        for (part, ours), count in parts.items()
    ]

"""Autoencoders as latent diffusion (LDM) saved them: their names and their architecture, in diffusers' words."""

import re
from typing import Any

from torch import Tensor

from ..errors import UserError, optional
from .sources import in_one_line

# In this order; the last level of the decoder comes first in diffusers.
NAMES = [
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.block\.(\d+)\.", r".resnets.\1."),
    (r"\.attn\.(\d+)\.", r".attentions.\1."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.down\.(\d+)\.", r".down_blocks.\1."),
]
WHOLE = "first_stage_model."  # before the autoencoder's names in a whole diffusion model
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def load_ldm(path: str, name: str) -> Any:
    """The autoencoder in an LDM-style file, as diffusers' ``AutoencoderKL`` in fp32; nothing in it is executed.

    Args:
        path: ``.ckpt``, ``.pth`` or ``.pt``, whose weights lie under ``model``, ``state_dict`` or at the top; or
            ``.safetensors``. The names are LDM's (``encoder.down.0.block.0.conv1.weight``), behind
            ``first_stage_model.`` in a whole diffusion model.
        name: The component that asks, for messages.

    Raises:
        UserError: diffusers isn't installed, or the file is damaged, refused or no such autoencoder.
    """
    from ..files import refuse_nan

    diffusers = optional("diffusers", name, "pretrained")
    found = read_ldm(path)
    weights = {key.removeprefix(WHOLE): value for key, value in found.items() if is_autoencoder(key)}
    refuse_nan({key: value for key, value in weights.items() if value.is_floating_point()}, path)
    try:
        model = diffusers.AutoencoderKL(**_architecture(weights))
        model.load_state_dict(_convert(weights))
    except (KeyError, RuntimeError, ValueError) as error:
        what = in_one_line(error)
        raise UserError(f"{name} source {path!r} is no LDM autoencoder that diffusers knows: {what}") from error
    return model.float()


def read_ldm(path: str) -> dict[str, Tensor]:
    """All tensors in an LDM-style file, those of a discriminator or of the model around it too.

    Raises:
        UserError: The file is absent, damaged or refused.
    """
    from ..files import read_safely

    found = read_safely(path)
    for key in ("state_dict", "model"):
        found = found.get(key, found) if isinstance(found, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def is_autoencoder(name: str) -> bool:
    """Whether a tensor of an LDM-style file is one of the autoencoder's own."""
    return name.removeprefix(WHOLE).startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv."))


def _architecture(weights: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of ``AutoencoderKL``, read off the names and shapes."""

    def count(pattern: str) -> int:
        return len({match[1] for name in weights if (match := re.match(pattern, name))})

    levels = count(r"encoder\.down\.(\d+)\.block\.")
    kinds = [
        "Attn" if any(name.startswith(f"{side}.{level}.attn.") for name in weights) else ""
        for side, order in (("encoder.down", range(levels)), ("decoder.up", range(levels)[::-1]))
        for level in order
    ]
    return {
        "in_channels": weights["encoder.conv_in.weight"].shape[1],
        "out_channels": weights["decoder.conv_out.weight"].shape[0],
        "latent_channels": weights["decoder.conv_in.weight"].shape[1],
        "block_out_channels": tuple(
            weights[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)
        ),
        "layers_per_block": count(r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": tuple(f"{kind}DownEncoderBlock2D" for kind in kinds[:levels]),
        "up_block_types": tuple(f"{kind}UpDecoderBlock2D" for kind in kinds[levels:]),
        "use_quant_conv": "quant_conv.weight" in weights,
        "use_post_quant_conv": "post_quant_conv.weight" in weights,
        "mid_block_add_attention": any(".mid.attn_1." in name for name in weights),
    }


def _convert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    last = max(int(match[1]) for name in weights if (match := re.match(r"decoder\.up\.(\d+)\.", name)))
    return dict(_rename(name, value, last) for name, value in weights.items())


def _rename(name: str, value: Tensor, last: int) -> tuple[str, Tensor]:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"\.up\.(\d+)\.", lambda level: f".up_blocks.{last - int(level[1])}.", name)
    if ".attentions." in name:
        *path, part, kind = name.split(".")
        name = ".".join([*path, ATTENTION[part], kind])
        value = value.flatten(1) if value.ndim == 4 else value  # a convolution of 1 x 1 is a linear layer
    return name, value

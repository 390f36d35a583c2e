"""Which of our tensors is made of which of a public checkpoint's: the whole conversion on a page.

A rule gives our name (within ``Network``), their names, and how their tensors become ours. ``#`` stands for a number
and ``*`` for ``weight`` or ``bias``, the same on both sides. D is the width, H the number of heads.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def same(x: Tensor) -> Tensor:
    """The tensor as it is."""
    return x


def bare(x: Tensor) -> Tensor:
    """The tensor without leading dimensions of size 1: ``[1, N, D]`` to ``[N, D]``, ``[1, 1, D]`` to ``[D]``."""
    while x.ndim > 1 and len(x) == 1:
        x = x[0]
    return x


def first_third(x: Tensor) -> Tensor:
    """The third of ``[3 D, ...]`` that makes queries."""
    return x.tensor_split(3)[0]


def last_thirds(x: Tensor) -> Tensor:
    """The two thirds of ``[3 D, ...]`` that make keys and values."""
    return torch.cat(x.tensor_split(3)[1:])


def product(one: Tensor, other: Tensor) -> Tensor:
    """Of the gains of queries and keys only the product reaches a score."""
    return one * other


def less_identity(x: Tensor) -> Tensor:
    """The half of ``[D, 2 D]`` that acts on the image tokens, where ours adds to them."""
    half = x.tensor_split(2, 1)[0]
    return half - torch.eye(len(half))


def last_half(x: Tensor) -> Tensor:
    """The half of ``[D, 2 D]`` that acts on the text."""
    return x.tensor_split(2, 1)[1]


def identity(ours: Tensor) -> Tensor:
    """they add the text as it is"""
    return torch.eye(len(ours))


def zero(ours: Tensor) -> Tensor:
    """they have no such bias"""
    return torch.zeros_like(ours)


def idle(ours: Tensor) -> Tensor:
    """they have none; scores over a single text token don't matter"""
    return ours


def source(ours: Tensor) -> Tensor:
    """of the text encoder that was given"""
    return ours


class Rule(NamedTuple):
    """How one of our tensors, or each that fits the name, is made."""

    ours: str
    theirs: tuple[str, ...] = ()
    how: Callable[..., Tensor] = same


def _blocks(ours: str, theirs: str) -> list[Rule]:
    return [
        Rule(f"{ours}.#.norm1.*", (f"{theirs}.#.norm1.*",)),
        Rule(f"{ours}.#.attn.q.*", (f"{theirs}.#.attn.qkv.*",), first_third),
        Rule(f"{ours}.#.attn.kv.*", (f"{theirs}.#.attn.qkv.*",), last_thirds),
        Rule(f"{ours}.#.attn.gain", (f"{theirs}.#.attn.q_norm.weight", f"{theirs}.#.attn.k_norm.weight"), product),
        Rule(f"{ours}.#.attn.proj.*", (f"{theirs}.#.attn.proj.*",)),
        Rule(f"{ours}.#.norm2.*", (f"{theirs}.#.norm2.*",)),
        Rule(f"{ours}.#.mlp.fc1.*", (f"{theirs}.#.mlp.fc1.*",)),
        Rule(f"{ours}.#.mlp.fc2.*", (f"{theirs}.#.mlp.fc2.*",)),
    ]


BACKBONE = [
    Rule("encoder.embed.0.*", ("z_proj.*",)),
    Rule("encoder.embed.1.*", ("z_proj_ln.*",)),
    Rule("encoder.positions", ("encoder_pos_embed_learned",), bare),
    Rule("encoder.registers", ("buffer",), bare),
    *_blocks("encoder.blocks", "encoder_blocks"),
    Rule("encoder.norm.*", ("encoder_norm.*",)),
    Rule("predictor.embed.*", ("decoder_embed.*",)),
    Rule("predictor.positions", ("decoder_pos_embed_learned",), bare),
    Rule("predictor.mask_query", ("mask_token",), bare),
    *_blocks("predictor.blocks", "decoder_blocks"),
    Rule("predictor.norm.*", ("decoder_norm.*",)),
]
HEADS = [
    *(
        rule
        for ours in ("objectives.flow.head", "objectives.diffusion.head")
        for rule in (
            Rule(f"{ours}.embed.*", ("diffloss.net.input_proj.*",)),
            Rule(f"{ours}.embed_condition.*", ("diffloss.net.cond_embed.*",)),
            Rule(f"{ours}.embed_time.#.*", ("diffloss.net.time_embed.mlp.#.*",)),
            Rule(f"{ours}.blocks.#.norm.*", ("diffloss.net.res_blocks.#.in_ln.*",)),
            Rule(f"{ours}.blocks.#.mlp.#.*", ("diffloss.net.res_blocks.#.mlp.#.*",)),
            Rule(f"{ours}.blocks.#.modulation.*", ("diffloss.net.res_blocks.#.adaLN_modulation.1.*",)),
            Rule(f"{ours}.modulation.*", ("diffloss.net.final_layer.adaLN_modulation.1.*",)),
            Rule(f"{ours}.out.*", ("diffloss.net.final_layer.linear.*",)),
        )
    ),
    Rule("objectives.feature.mlp.0.*", ("jepaloss.net.fc1.*",)),
    Rule("objectives.feature.mlp.2.*", ("jepaloss.net.norm.*",)),
    Rule("objectives.feature.mlp.3.*", ("jepaloss.net.fc2.*",)),
    Rule("fusion.encoder.proj.weight", (), identity),  # both add a vector to the registers
    Rule("fusion.encoder.proj.bias", (), zero),
]
DJEPA = [
    *BACKBONE,
    *HEADS,
    Rule("text_tokenizer.classes", ("class_emb.weight",)),
    Rule("text_tokenizer.null_class", ("fake_latent",)),
]
JEPAT = [
    *BACKBONE,
    *HEADS,
    Rule("text_tokenizer.mlp.#.*", ("class_emb.#.*",)),
    Rule("text_tokenizer.null_token", ("fake_latent",)),
    Rule("text_tokenizer.tower_hash", (), source),
    Rule("fusion.context.proj.weight", (), identity),
    Rule("fusion.context.proj.bias", (), zero),
    Rule("fusion.features.attn.q.weight", ("cross_attention.in_proj_weight",), first_third),
    Rule("fusion.features.attn.q.bias", ("cross_attention.in_proj_bias",), first_third),
    Rule("fusion.features.attn.kv.weight", ("cross_attention.in_proj_weight",), last_thirds),
    Rule("fusion.features.attn.kv.bias", ("cross_attention.in_proj_bias",), last_thirds),
    Rule("fusion.features.attn.proj.*", ("cross_attention.out_proj.*",)),
    Rule("fusion.features.attn.gain", (), idle),
    Rule("fusion.features.norm.*", (), idle),
    Rule("fusion.objective.proj.weight", ("fuse_proj.weight",), less_identity),
    Rule("fusion.objective.proj.bias", ("fuse_proj.bias",)),
    Rule("fusion.objective.text_proj.weight", ("fuse_proj.weight",), last_half),
    Rule("fusion.objective.text_proj.bias", (), zero),
]
RULES = {"djepa": DJEPA, "jepat": JEPAT}

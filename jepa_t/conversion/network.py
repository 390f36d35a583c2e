"""From a public checkpoint's file to one of ours: sizes read off the shapes, every tensor accounted for."""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import UserError, unknown
from ..files import read_safely, refuse_nan, write_atomically
from ..model import Network
from ..registry import BACKBONES, TOKENIZERS, build
from .rules import BACKBONE, RULES, Rule

STRIDE, SCALE = 16, 0.2325  # of KL-16, the autoencoder that these networks were trained with
KINDS = {"raw": "model", "ema": "model_ema"}  # of weights, and where they lie in a file
OBJECTIVES = {1: ("flow", "FlowMatching"), 2: ("diffusion", "GaussianDiffusion")}  # by outputs per channel
NAMES = "imagenet"  # of the classes
FRESH = ("image_tokenizer", "text_tokenizer", "fusion", "objectives")  # parts of a model that are no backbone


class Row(NamedTuple):
    """A line of the account: tensors whose names begin alike, and what became of them."""

    theirs: str
    used: int
    ours: str
    made: int
    note: str = ""


@dataclass(frozen=True)
class Public:
    """The weights of a public network.

    Args:
        path: Of their file, for messages.
        tensors: By their names.
    """

    path: str
    tensors: dict[str, Tensor]

    def shape(self, name: str, dimensions: int) -> list[int]:
        """The shape of a tensor.

        Raises:
            UserError: It isn't there, or has other dimensions.
        """
        if name not in self.tensors:
            raise UserError(f"{self.path!r} has no {name}; is it of D-JEPA or the public JEPA-T code?")
        found = list(self.tensors[name].shape)
        if len(found) != dimensions:
            raise UserError(f"{self.path!r}: {name} is {found}; it should have {dimensions} dimensions")
        return found

    def count(self, prefix: str) -> int:
        """How many numbered parts begin with a prefix."""
        return len({match[1] for name in self.tensors if (match := re.match(rf"{re.escape(prefix)}\.(\d+)\.", name))})


def convert_network(
    kind: str,
    source: str,
    out: str | Path,
    image_tokenizer: str | None = None,
    text_encoder: Mapping[str, Any] | None = None,
    names: str = NAMES,
    weights: str | None = None,
    backbone: bool = False,
) -> list[Row]:
    """Write the checkpoint ``out`` from a public one.

    Args:
        kind: ``djepa`` or ``jepat``.
        source: Their file: ``model`` or ``model_ema`` inside, or both, or the tensors at the top; or ``.safetensors``.
        out: A ``.pth`` file.
        image_tokenizer: Source of the KL-16 autoencoder, as in :class:`~jepa_t.KLTokenizer`.
        text_encoder: Of ``jepat``, the open_clip model that it read, as in :class:`~jepa_t.PooledText`: ``model``,
            ``pretrained``, and others.
        names: Of ``djepa``, as in :class:`~jepa_t.ClassEmbedding`.
        weights: ``raw`` or ``ema``, for the network and its average alike; by default each gets its own.
        backbone: Convert encoder and predictor alone, for a config that trains the rest and says what it is.

    Returns:
        The account: every tensor of theirs and every tensor of ours is in a row.

    Raises:
        UserError: The file can't be read, lacks a tensor, or has one that is unknown or of a wrong shape; or a source
            that is needed isn't given, or is given and isn't needed.
    """
    others = {"--image-tokenizer": image_tokenizer, "--text-encoder": text_encoder}
    unread = [option for option, value in others.items() if value is not None]
    unread += ["--names"] if names != NAMES else []
    if backbone and unread:
        raise UserError(f"--backbone converts encoder and predictor alone, and takes no {unread[0]}")
    raw, ema, rest = read_public(source, weights)
    config = backbone_config(raw)
    if backbone:
        meta: dict[str, Any] = {"starts_fresh": [f"{place}{part}." for part in FRESH for place in _places(part)]}
        expected, state = _backbone(raw, config), {}
        rows = [Row("", 0, part, 0, "starts from the training config") for part in FRESH]
    else:
        config = model_config(kind, raw, config, image_tokenizer, text_encoder, names)
        tokenizer = build(config["image_tokenizer"], TOKENIZERS)
        if tokenizer.channels != raw.shape("z_proj.weight", 2)[1]:
            here, there = tokenizer.channels, raw.shape("z_proj.weight", 2)[1]
            raise UserError(f"{image_tokenizer!r} gives tokens of {here} channels, {source!r} was trained on {there}")
        taken = ("width", "text_tokenizer", "encoder", "predictor", "fusion", "objectives")
        expected = Network(tokenizer, **{key: config[key] for key in taken}).state_dict()
        meta = {"model": config}
        state = {f"image_tokenizer.{name}": value for name, value in tokenizer.state_dict().items()}
        rows = [Row("", 0, "image_tokenizer", len(state), "of the autoencoder that was given")]
    rules, known = (BACKBONE, RULES[kind]) if backbone else (RULES[kind], [])
    network, account = apply_rules(rules, expected, raw, known)
    averaged = network if ema is raw else apply_rules(rules, expected, ema, known)[0]
    for name in expected:
        state |= {f"network.{name}": network[name], f"ema.{name}": averaged[name]}
    write_atomically(out, lambda file: torch.save({"state_dict": state, "meta": meta}, file))
    return account + rows + [Row(name, 0, "", 0, "not of the network; not read") for name in rest]


def read_public(path: str, weights: str | None = None) -> tuple[Public, Public, list[str]]:
    """Raw and averaged weights of a public checkpoint, in fp32 and without the prefix of compiled modules.

    Args:
        path: The file.
        weights: ``raw`` or ``ema`` for both; None for each its own, where there are both.

    Returns:
        Raw and averaged, one object where they are the same; and the names of what else is in the file.

    Raises:
        UserError: The file can't be read, or hasn't got what is asked for.
    """
    found = read_safely(path)
    if not isinstance(found, dict):
        raise UserError(f"{path!r} holds a {type(found).__name__}, not the tensors of a network")
    sets = {kind: found[key] for kind, key in KINDS.items() if found.get(key)}
    rest = [str(name) for name in found if name not in KINDS.values()] if sets else []
    networks = {kind: _public(path, kind, tensors) for kind, tensors in (sets or {"raw": found}).items()}
    if weights is not None and weights not in networks:
        raise UserError(f"{path!r} has no {KINDS[weights]!r}; leave --{weights} out")
    asked = [network for kind, network in networks.items() if weights in (None, kind)]
    return asked[0], asked[-1], rest


def _public(path: str, kind: str, tensors: Any) -> Public:
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{path!r}: its {kind} weights aren't tensors by name")
    refuse_nan(tensors, path)
    return Public(path, {name.replace("_orig_mod.", ""): value.float() for name, value in tensors.items()})


def backbone_config(public: Public) -> dict[str, Any]:
    """The model's options that describe its backbone."""
    width = public.shape("z_proj.weight", 2)[0]

    def blocks(name: str) -> dict[str, int]:
        channels = public.shape(f"{name}.0.attn.q_norm.weight", 1)[0]
        return {"depth": public.count(name), "heads": width // channels}

    registers = public.shape("buffer", 3)[1]
    return {
        "width": width,
        "encoder": {
            "type": "ContextEncoder",
            "registers": registers,
            "norm_at": "sequence",
            **blocks("encoder_blocks"),
        },
        "predictor": {"type": "Predictor", **blocks("decoder_blocks")},
    }


def model_config(
    kind: str,
    public: Public,
    backbone: dict[str, Any],
    image_tokenizer: str | None,
    text_encoder: Mapping[str, Any] | None,
    names: str,
) -> dict[str, Any]:
    """The config of the whole model.

    Raises:
        UserError: The shapes fit no network of ours, or a source that is needed isn't given.
    """
    if image_tokenizer is None:
        raise UserError("--image-tokenizer is missing; give the KL-16 autoencoder, or use --backbone")
    if kind == "jepat" and text_encoder is None:
        raise UserError("--text-encoder is missing; give the one it was trained with, or use --backbone")
    tokens, width = public.shape("encoder_pos_embed_learned", 3)[1:]
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise UserError(f"{public.path!r} has {tokens} tokens, which are no square")
    tokenizer = {"type": "KLTokenizer", "source": image_tokenizer, "size": [side * STRIDE] * 2, "scale": SCALE}
    objectives, sampler = _objectives(public, tokens)
    fusion: dict[str, dict] = {"encoder": {"type": "Add"}}
    if kind == "djepa":
        text: dict[str, Any] = {"type": "ClassEmbedding", "names": names, "width": width}
        theirs, ours = public.shape("class_emb.weight", 2)[0], len(build(text, TOKENIZERS).names)
        if theirs != ours:
            raise UserError(f"{public.path!r} has {theirs} classes and --names {ours}; give a file of one class a line")
    else:
        text = {"type": "PooledText", "width": width, **(text_encoder or {})}
        attention = {"type": "CrossAttention", "heads": 8}
        fusion |= {"context": {"type": "Add"}, "features": attention, "objective": {"type": "Concat"}}
    parts = {"image_tokenizer": tokenizer, "text_tokenizer": text, "fusion": fusion, "objectives": objectives}
    return {"type": "JEPAT", **backbone, **parts, "sampler": sampler}


def _objectives(public: Public, tokens: int) -> tuple[dict[str, dict], dict[str, Any]]:
    channels = public.shape("z_proj.weight", 2)[1]
    outputs = public.shape("diffloss.net.final_layer.linear.weight", 2)[0]
    if outputs not in (channels, 2 * channels):
        raise UserError(
            f"{public.path!r}: its head gives {outputs} numbers for tokens of {channels}; a flow head gives as many, "
            f"a Gaussian head twice as many"
        )
    name, kind = OBJECTIVES[outputs // channels]
    width, depth = public.shape("diffloss.net.cond_embed.weight", 2)[0], public.count("diffloss.net.res_blocks")
    objectives: dict[str, dict[str, Any]] = {name: {"type": kind, "head_width": width, "head_depth": depth}}
    if name == "flow":
        objectives[name]["time_scale"] = 1.0
        guidance = {"type": "linear", "most": (tokens - 1) / tokens}
        sampler: dict[str, Any] = {"preset": "reference", "guidance_scale": 3.0, "guidance_schedule": guidance}
    else:
        sampler = {"steps": 64, "draw": {"solver_steps": 100}, "guidance_scale": 1.0, "temperature": 0.95}
    if "jepaloss.net.fc1.weight" in public.tensors:
        hidden = public.shape("jepaloss.net.fc1.weight", 2)[0]
        objectives["feature"] = {"type": "FeaturePrediction", "hidden_width": hidden, "activation_first": True}
    return objectives, sampler


def _backbone(public: Public, config: dict[str, Any]) -> dict[str, Tensor]:
    """Encoder and predictor as they are built, by our names."""
    channels, tokens = public.shape("z_proj.weight", 2)[1], public.shape("encoder_pos_embed_learned", 3)[1]
    offered = {"width": config["width"], "channels": channels, "tokens": tokens}
    parts = {part: build(config[part], BACKBONES, **offered).state_dict() for part in ("encoder", "predictor")}
    return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


def _places(part: str) -> tuple[str, ...]:
    return ("",) if part == "image_tokenizer" else ("network.", "ema.")


def apply_rules(
    rules: Sequence[Rule], expected: Mapping[str, Tensor], public: Public, known: Sequence[Rule] = ()
) -> tuple[dict[str, Tensor], list[Row]]:
    """Make each tensor of ours, and account for each of theirs.

    Args:
        rules: How.
        expected: Our tensors by name, for their shapes and, where a rule keeps them, their values.
        public: Their tensors.
        known: Rules of which the tensors may be left out.

    Raises:
        UserError: A tensor is missing, unknown, or of a wrong shape.
    """
    recipes = {name: _recipe(name, rules) for name in expected}
    state = {name: _make(name, ours, *recipes[name], public) for name, ours in expected.items()}
    groups: dict[tuple[str, str], tuple[set, set]] = defaultdict(lambda: (set(), set()))  # theirs and ours, for a row
    for name, (rule, sources) in recipes.items():
        theirs, ours = groups[(_head(sources[0]), "") if sources else ("", rule.how.__doc__ or "")]
        theirs.update(sources)
        ours.add(name)
    used = {source for _, sources in recipes.values() for source in sources}
    for name in _left_out(public, used, rules, known):
        groups[_head(name), "left out, since the training config has its own"][0].add(name)
    return state, [
        Row(head, len(theirs), ", ".join(sorted({".".join(name.split(".")[:2]) for name in ours})), len(ours), note)
        for (head, note), (theirs, ours) in groups.items()
    ]


def _recipe(name: str, rules: Iterable[Rule]) -> tuple[Rule, list[str]]:
    """The first rule that fits one of our names, and the names of theirs that it asks for."""
    for rule in rules:
        if match := _pattern(rule.ours).fullmatch(name):
            return rule, [_fill(names, match.groups()) for names in rule.theirs]
    raise UserError(f"no rule says what {name} is made of")


def _make(name: str, ours: Tensor, rule: Rule, sources: list[str], public: Public) -> Tensor:
    for source in sources:
        if source not in public.tensors:
            raise UserError(f"{public.path!r} has no {source}, of which {name} is made")
    theirs = [public.tensors[source] for source in sources]
    try:
        made = rule.how(*(theirs or [ours]))
    except (RuntimeError, IndexError):  # shapes that can't be multiplied, or halved
        made = None
    if made is None or made.shape != ours.shape:
        of = " and ".join(f"{source} {list(tensor.shape)}" for source, tensor in zip(sources, theirs, strict=True))
        raise UserError(f"{public.path!r}: of {of} can't be made {name} {list(ours.shape)}")
    return made.to(ours.dtype).clone()


def _left_out(public: Public, used: set[str], rules: Iterable[Rule], known: Iterable[Rule]) -> list[str]:
    """Their tensors that nothing was made of, each of which must be known."""
    may_be, unused = {name for rule in known for name in rule.theirs}, public.tensors.keys() - used
    for name in unused:
        if not any(_pattern(names).fullmatch(name) for names in may_be):
            raise unknown(f"tensor in {public.path!r}:", name, may_be | {t for rule in rules for t in rule.theirs})
    return list(unused)


def _head(name: str) -> str:
    return name.split(".")[0]


@functools.cache
def _pattern(names: str) -> re.Pattern:
    return re.compile(re.escape(names).replace(r"\#", r"(\d+)").replace(r"\*", "(weight|bias)"))


def _fill(names: str, numbers: tuple[str, ...]) -> str:
    values = iter(numbers)
    return re.sub("[#*]", lambda _: next(values), names)

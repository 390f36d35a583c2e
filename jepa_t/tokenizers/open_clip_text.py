"""The text half of any open_clip model as a frozen text tokenizer."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError, unknown
from ..registry import TOKENIZERS
from .frozen_text import CACHE, FrozenText
from .sources import loading

UNCUT = 1024  # tokens; open_clip cuts captions silently, so they are counted before


@TOKENIZERS.register_module()
class OpenCLIPText(FrozenText):
    """The frozen text half of an ``open_clip`` model.

    Tokens are the text Transformer's output after its last norm, from the start-of-text to the end-of-text token.
    Pooled is the model's own, without the projection to images: for CLIP the end-of-text token's.

    Weights trained with QuickGELU and read with GELU, or the other way round, give worse features and no error
    elsewhere. Here they are refused where a tag or a folder says what was meant; a bare file doesn't say it, so
    ``quick_gelu`` must.

    Args:
        model: An architecture's name (``open_clip.list_models()``), a folder with ``open_clip_config.json`` and
            weights, or ``hf-hub:NAME``.
        pretrained: Of a named architecture: a tag (``open_clip.list_pretrained()``), or a file of weights.
        quick_gelu: Whether the weights were trained with QuickGELU (OpenAI's and MetaCLIP's were, LAION's mostly
            not); needed for a file.
        length: L, special tokens included; a caption of more is refused.
        cache: Folder in which features are kept between runs, or None.
        projected: Tokens and pooled vector through the projection to images, as ``encode_text`` gives it: not
            normalised.

    Raises:
        UserError: Model or weights are missing, or belong to another architecture or non-linearity.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        quick_gelu: bool | None = None,
        length: int = 32,
        cache: str | None = CACHE,
        projected: bool = False,
    ) -> None:
        encoder = OpenCLIPEncoder(model, pretrained, quick_gelu, projected)
        if length > encoder.tower.context_length:
            raise UserError(f"OpenCLIPText length={length}; {model!r} reads at most {encoder.tower.context_length}")
        super().__init__(encoder, f"{model} {pretrained or ''}".strip(), length, cache, normalize=not projected)


class OpenCLIPEncoder(nn.Module):
    """A text half and its tokenizer.

    Args:
        model, pretrained, quick_gelu, projected: As in :class:`OpenCLIPText`.

    Attributes:
        width: E.
        activation: Its non-linearity.
    """

    def __init__(self, model: str, pretrained: str | None, quick_gelu: bool | None, projected: bool = False) -> None:
        super().__init__()
        both, self.tokenizer, quick = load_open_clip("OpenCLIPText", model, pretrained, quick_gelu, text_only=True)
        self.tower = both.text
        self.projection = _projection(self.tower) if projected else nn.Identity()
        self.tower.text_projection = None  # so that its pooled vector is as wide as its tokens
        self.tower.output_tokens = True
        self.activation = "quick_gelu" if quick else "gelu"
        self.width = self.projection(torch.zeros(1, self.tower.width)).shape[1]
        self.padding = int(self.tokenizer([""], context_length=UNCUT)[0, -1])
        own = getattr(self.tokenizer, "tokenizer", None)  # one of transformers
        self.end = [self.padding] if own and own.eos_token_id == self.padding else []  # SigLIP pads with its end
        self.nothing = self._uncut("")  # ids of no caption: the special ones

    def ids(self, caption: str) -> list[int]:
        """The caption's token ids up to and including the end of text; none if only special ones are left of it."""
        ids = self._uncut(caption)
        return [] if ids == self.nothing else ids

    def _uncut(self, caption: str) -> list[int]:
        ids = self.tokenizer([caption], context_length=UNCUT)[0].tolist()
        while ids and ids[-1] == self.padding:
            ids.pop()
        return ids + self.end

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Features of token ids ``[B, n]`` without padding: tokens ``[B, n, E]``, pooled ``[B, E]``."""
        count = ids.shape[1]
        pooled, tokens = self.tower(F.pad(ids, (0, self.tower.context_length - count), value=self.padding))
        return self.projection(tokens[:, :count]), self.projection(pooled)


def _projection(tower: nn.Module) -> nn.Module:
    """A text half's map to what it shares with images: a matrix in CLIP, a layer in some, or nothing."""
    found = tower.text_projection
    if not isinstance(found, Tensor):
        return found or nn.Identity()
    layer = nn.Linear(*found.shape, bias=False)
    layer.weight = nn.Parameter(found.detach().T.contiguous())
    return layer


def load_open_clip(
    user: str, model: str, pretrained: str | None, quick_gelu: bool | None, text_only: bool = False
) -> tuple[nn.Module, Callable[..., Tensor], bool]:
    """Both halves of an open_clip model, its tokenizer, and whether it has QuickGELU.

    Args:
        user: The component that asks, for messages.
        model: As in :class:`OpenCLIPText`.
        pretrained: As there.
        quick_gelu: As there.
        text_only: Whether its text half must be open_clip's own.

    Raises:
        UserError: As there.
    """
    import open_clip  # here, since it brings torchvision

    what = f"{user} model={model!r} pretrained={pretrained!r}"
    folder = Path(model).expanduser()
    source = f"local-dir:{folder}" if folder.is_dir() else model
    whole = source.startswith(("local-dir:", "hf-hub:"))
    if not whole:
        source = model.replace("/", "-")
        if source not in open_clip.list_models():
            raise unknown(f"{user} model", model, open_clip.list_models())
    if whole == bool(pretrained):
        raise UserError(f"{what}: give pretrained, a tag or a file, with a named architecture and only there")
    with loading(what):
        config = open_clip.get_model_config(source)
        if text_only and "hf_model_name" in config["text_cfg"]:
            raise UserError(f"{what}: its text half is a model of transformers; use HFText")
        quick = bool(config.get("quick_gelu", False))
        if not whole:
            tag = open_clip.get_pretrained_cfg(source, pretrained)
            if not tag and not Path(pretrained).expanduser().is_file():
                raise unknown(f"pretrained of {model}", pretrained, open_clip.list_pretrained_tags_by_model(source))
            if tag:
                _same_activation(what, source, quick, bool(tag.get("quick_gelu", False)))
            else:
                pretrained = str(Path(pretrained).expanduser())
                if quick_gelu is None:
                    raise UserError(f"{what}: a file doesn't say how it was trained; set quick_gelu=True or False")
        if quick_gelu is not None:
            _same_activation(what, source, quick, quick_gelu)
        both = open_clip.create_model(source, pretrained, force_custom_text=True, require_pretrained=True)
        return both, open_clip.get_tokenizer(source), quick


def _same_activation(what: str, source: str, architecture: bool, weights: bool) -> None:
    if architecture == weights:
        return
    name = {True: "QuickGELU", False: "GELU"}
    other = f"{source}-quickgelu" if weights else source.removesuffix("-quickgelu")
    raise UserError(
        f"{what}: the weights were trained with {name[weights]} and the architecture has {name[architecture]}; "
        f"use one such as model={other!r}"
    )

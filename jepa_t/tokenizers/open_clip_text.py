"""The text half of any open_clip model as a frozen text tokenizer."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError, unknown
from ..registry import TOKENIZERS
from .frozen_text import CACHE, FrozenWords, TextEncoder, standardised
from .sources import loading, local_folder

UNCUT = 1024  # tokens; open_clip cuts captions silently, so they are counted before
HUB = "hf-hub:"  # open_clip's mark of names on the hub
SAFE = "open_clip_model.safetensors"  # the file of weights that its repositories have


@TOKENIZERS.register_module()
class OpenCLIPText(FrozenWords):
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

    Raises:
        UserError: Model or weights are missing, or belong to another architecture or non-linearity.

    Examples:
        >>> OpenCLIPText("ViT-B-32", pretrained="laion2b_s34b_b79k").width  # doctest: +SKIP
        512
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        quick_gelu: bool | None = None,
        length: int = 32,
        cache: str | None = CACHE,
    ) -> None:
        encoder = OpenCLIPEncoder("OpenCLIPText", model, pretrained, quick_gelu, length)
        super().__init__(encoder, f"{model} {pretrained or ''}".strip(), length, cache)


class OpenCLIPEncoder(TextEncoder):
    """A text half and its tokenizer.

    Args:
        user: The component that asks, for messages.
        model, pretrained, quick_gelu, length: As in :class:`OpenCLIPText`.

    Attributes:
        width: E, channels of the text.
        activation: Its non-linearity.
    """

    tower: Any  # of open_clip

    def __init__(self, user: str, model: str, pretrained: str | None, quick_gelu: bool | None, length: int) -> None:
        from open_clip.tokenizer import HFTokenizer

        super().__init__()
        both, self.tokenizer, quick = load_open_clip(user, model, pretrained, quick_gelu, text_only=True)
        self.tower = both.text
        if length > self.tower.context_length:
            raise UserError(f"{user} length={length}; {model!r} reads at most {self.tower.context_length}")
        self.tower.output_tokens = True
        self.activation = "quick_gelu" if quick else "gelu"
        self.padding = int(self.tokenizer([""], context_length=UNCUT)[0, -1])
        ends = isinstance(self.tokenizer, HFTokenizer) and self.tokenizer.tokenizer.eos_token_id == self.padding
        self.end = [self.padding] if ends else []  # SigLIP pads with its end
        self.nothing = self._uncut("")  # ids of no caption: the special ones
        self.specials = len(self.nothing)
        self._project()

    def _project(self) -> None:
        self.tower.text_projection = None  # so that its pooled vector is as wide as its tokens
        self.width = self.tower.width

    def ids(self, caption: str) -> list[int]:
        """The caption's token ids up to and including the end of text; none if only special ones are left of it."""
        ids = self._uncut(caption)
        return [] if ids == self.nothing else ids

    def _uncut(self, caption: str) -> list[int]:
        ids = self.tokenizer([caption], context_length=UNCUT)[0].tolist()
        while ids and ids[-1] == self.padding:
            ids.pop()
        return ids + self.end

    def _run(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Run the text half: pooled ``[B, .]`` and all tokens ``[B, L, .]``."""
        return self.tower(F.pad(ids, (0, self.tower.context_length - ids.shape[1]), value=self.padding))

    def forward(self, ids: Tensor) -> Tensor:
        """The pooled vector and the tokens' features ``[B, 1 + n, E]`` of token ids ``[B, n]`` without padding."""
        pooled, tokens = self._run(ids)
        return standardised(pooled, tokens[:, : ids.shape[1]])


class ProjectedEncoder(OpenCLIPEncoder):
    """A text half of which the pooled vector alone is kept, as open_clip compares it with images: projected.

    It isn't normalised; where a model has no projection, it is the pooled vector.
    """

    kept = torch.float32

    def _project(self) -> None:
        self.width = self.tower.width if self.tower.text_projection is None else self.tower.output_dim

    def forward(self, ids: Tensor) -> Tensor:
        """The projected vector of token ids ``[B, n]``, without padding ``[B, 1, E]``."""
        return self._run(ids)[0][:, None]


class Weights(NamedTuple):
    """An architecture, where its weights are, and what is known of them.

    Args:
        source: The architecture, as open_clip names it.
        file: Of the weights; None for those in the folder that ``source`` names.
        facts: Of a tag (open_clip's ``pretrained_cfg``): where the weights are on the hub, how images are prepared.
        quick_gelu: Whether they were trained with QuickGELU; None where nothing says it.
    """

    source: str
    file: str | None = None
    facts: dict[str, Any] | None = None
    quick_gelu: bool | None = None


def load_open_clip(
    user: str, model: str, pretrained: str | None, quick_gelu: bool | None, text_only: bool = False
) -> tuple[Any, Any, bool]:
    """Both halves of an open_clip model, its tokenizer, and whether it has QuickGELU.

    Args:
        user: The component that asks, for messages.
        model: An architecture's name, a folder, or ``hf-hub:NAME``.
        pretrained: A tag or a file of weights, for a named architecture.
        quick_gelu: Whether the weights were trained with QuickGELU; needed for a file.
        text_only: Whether its text half must be open_clip's own.

    Raises:
        UserError: Model or weights are missing, or belong to another architecture or non-linearity.
    """
    import open_clip  # here, since it brings torchvision

    what = f"{user} model={model!r} pretrained={pretrained!r}"
    whole = model.startswith(HUB) or Path(model).expanduser().is_dir()
    if not whole and model.replace("/", "-") not in open_clip.list_models():
        raise unknown(f"{user} model", model, open_clip.list_models())
    if whole == bool(pretrained):
        raise UserError(f"{what}: give pretrained, a tag or a file, with a named architecture and only there")
    with loading(what):
        weights = _in_folder(what, model) if whole else _by_name(what, model, pretrained or "", quick_gelu)
        config = open_clip.get_model_config(weights.source)
        text = config["text_cfg"]
        if "hf_model_name" in text and (text_only or whole):  # which may ask for code of its own
            raise UserError(f"{what}: its text half is a model of transformers; use HFText")
        quick = bool(config.get("quick_gelu", False))
        for trained in (weights.quick_gelu, quick_gelu):
            if trained is not None:
                _check_activation(what, weights.source, quick, trained)
        file = _fetched(what, weights.facts) if weights.facts else weights.file
        safely = {"weights_only": True, "require_pretrained": True, "force_custom_text": True}
        both = open_clip.create_model(weights.source, file, force_preprocess_cfg=weights.facts, **safely)
        words = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
        return both, open_clip.get_tokenizer(weights.source, **words), quick


def _in_folder(what: str, model: str) -> Weights:
    """A model whose folder says all about it, here or on the hub."""
    folder = local_folder(model.removeprefix(HUB), what)
    _safe_file(what, folder, "*.safetensors")
    return Weights(f"local-dir:{folder}")


def _by_name(what: str, model: str, pretrained: str, quick_gelu: bool | None) -> Weights:
    """An architecture that open_clip knows, with a tag's weights or a file's."""
    import open_clip

    source = model.replace("/", "-")
    facts = open_clip.get_pretrained_cfg(source, pretrained)
    if facts:
        return Weights(source, facts=facts, quick_gelu=bool(facts.get("quick_gelu", False)))
    file = Path(pretrained).expanduser()
    if not file.is_file():
        raise unknown(f"pretrained of {model}", pretrained, open_clip.list_pretrained_tags_by_model(source))
    if quick_gelu is None:
        raise UserError(f"{what}: a file doesn't say how it was trained; set quick_gelu=True or False")
    return Weights(source, str(file))


def _fetched(what: str, facts: dict[str, Any]) -> str:
    """The file of a tag's weights, from the hub."""
    repository, _, name = facts["hf_hub"].rpartition("/")
    return str(_safe_file(what, local_folder(repository, what), f"{Path(name).stem}.safetensors" if name else SAFE))


def _safe_file(what: str, folder: Path, pattern: str) -> Path:
    """The file of weights in a folder, which must be safetensors."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise UserError(f"{what}: {str(folder)!r} has no {pattern}; weights are read from safetensors alone")
    return found[0]


def _check_activation(what: str, source: str, architecture: bool, weights: bool) -> None:
    if architecture == weights:
        return
    name = {True: "QuickGELU", False: "GELU"}
    other = f"{source}-quickgelu" if weights else source.removesuffix("-quickgelu")
    raise UserError(
        f"{what}: the weights were trained with {name[weights]} and the architecture has {name[architecture]}; "
        f"use one such as model={other!r}"
    )

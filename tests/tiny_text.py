"""Tiny pretrained text models of random weights, in the real file formats, written once when asked for; their norm."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

WIDTH = 12  # as tiny.TEXT_WIDTH
WORDS = "a red three on white paper blue five black the green nine seven yellow one grey and left of cyan zero two"


@functools.cache
def saved(kind: str, seed: int = 0) -> str:
    """The folder of a model: ``bert``, ``roberta``, ``clip`` (both halves), ``t5`` (both halves) or ``open_clip``."""
    folder = tempfile.mkdtemp(prefix=f"jepa_t_{kind}_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    random = torch.Generator().manual_seed(seed)
    {"bert": _bert, "roberta": _roberta, "clip": _clip, "t5": _t5, "open_clip": _open_clip}[kind](Path(folder), random)
    return folder


def _drawn(model: nn.Module, random: torch.Generator) -> nn.Module:
    """Weights large enough that everything depends on everything, as fp32 whatever the default is."""
    model = model.float()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=random, dtype=torch.float32)
            parameter.copy_(noise * (0.5 if parameter.ndim > 1 else 0.1) + (parameter if parameter.ndim == 1 else 0))
    return model


def _tokenizer(folder: Path, start: str | None, end: str) -> int:
    """A tokenizer of whole words; its vocabulary's size. The end of the text has the highest id."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *WORDS.split(), *([start] if start else []), end]
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, "[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [(word, ids[word]) for word in (start, end) if word]
    tokenizer.post_processor = processors.TemplateProcessing(f"{start or ''} $A {end}".strip(), special_tokens=special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token=end, bos_token=start
    ).save_pretrained(folder)
    return len(words)


def _bert(folder: Path, random: torch.Generator) -> None:
    from transformers import BertConfig, BertModel

    size = _tokenizer(folder, "[CLS]", "[SEP]")
    config = BertConfig(
        vocab_size=size,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
    )
    _drawn(BertModel(config), random).save_pretrained(folder)


def _roberta(folder: Path, random: torch.Generator) -> None:
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=_tokenizer(folder, "[CLS]", "[SEP]"),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=10,
        pad_token_id=0,  # as in the tokenizer; positions begin behind it
    )
    _drawn(RobertaModel(config), random).save_pretrained(folder)


def _clip(folder: Path, random: torch.Generator) -> None:
    from transformers import CLIPConfig, CLIPModel

    size = _tokenizer(folder, "<start>", "<end>")
    half = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    text = half | {"vocab_size": size, "max_position_embeddings": 40, "eos_token_id": size - 1}
    config = CLIPConfig(text_config=text, vision_config=half | {"image_size": 8, "patch_size": 4}, projection_dim=8)
    _drawn(CLIPModel(config), random).save_pretrained(folder)


def _t5(folder: Path, random: torch.Generator) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    size = _tokenizer(folder, None, "</s>")
    config = T5Config(
        vocab_size=size, d_model=WIDTH, d_kv=6, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    _drawn(T5ForConditionalGeneration(config), random).save_pretrained(folder)


OPEN_CLIP = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 2},
}


def _open_clip(folder: Path, random: torch.Generator) -> None:
    from open_clip import CLIP
    from safetensors.torch import save_file

    model = _drawn(CLIP(**OPEN_CLIP), random)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": OPEN_CLIP, "preprocess_cfg": {}}))
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, folder / "open_clip_model.safetensors")


def normalised(x: torch.Tensor) -> torch.Tensor:
    """As our encoders normalise a library's features."""
    return nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6)

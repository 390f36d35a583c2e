"""What a model does with its tokenizers: fit those that learn from data, and encode images or cached latents."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..contracts import (
    DiscreteImageTokenizer,
    Fitted,
    ImageTokenizer,
    LatentImageTokenizer,
    TextTokenizer,
    Vocabulary,
)
from ..errors import UserError
from ..structures import Between, Caption, Text
from .maps import in_float32

Images = Tensor | Mapping[str, Tensor]  # [B, 3, H, W], or what a cache holds of them
DECODED = 32  # images at once


def encode(tokenizer: ImageTokenizer, images: Images) -> Tensor:
    """Image tokens ``[B, N, C]`` of images ``[B, 3, H, W]`` in [-1, 1], or of what a cache of latents holds of them.

    Args:
        tokenizer: The model's image tokenizer.
        images: The images, ``{"moments": [B, 2C', h, w]}``, or ``{"tokens": [B, N, C]}``, which are given back.

    Raises:
        UserError: The tokenizer can't read moments, these aren't its own, or it gives tokens of another shape.
    """
    if not isinstance(images, Mapping):
        tokens = in_float32(tokenizer.encode)(images)
    elif "tokens" in images:
        tokens = images["tokens"]
    elif isinstance(tokenizer, LatentImageTokenizer):
        tokens = tokenizer.from_moments(images["moments"])
    else:
        raise UserError(f"{type(tokenizer).__name__} reads images; cached latents need a KLTokenizer")
    count, given = math.prod(tokenizer.grid), list(tokens.shape)
    if given[1:] != [count, tokenizer.channels]:
        name = type(tokenizer).__name__
        raise UserError(f"image_tokenizer: {name} gave tokens {given}; [B, {count}, {tokenizer.channels}] is expected")
    return tokens


def read(tokenizer: TextTokenizer, captions: Sequence[Caption]) -> Text:
    """B captions as text, those on the way between two from both.

    Raises:
        UserError: One can't be read.
    """
    if not any(isinstance(caption, Between) for caption in captions):
        return tokenizer([str(caption) if isinstance(caption, Between) else caption for caption in captions])
    ways = [caption if isinstance(caption, Between) else Between(caption, caption, 0.0) for caption in captions]
    first, second = tokenizer([way.first for way in ways]), tokenizer([way.second for way in ways])
    return first.lerp(second, torch.tensor([way.share for way in ways]).to(first.pooled.device, non_blocking=True))


def check_caption(tokenizer: TextTokenizer, caption: str) -> None:
    """See that a caption can be read, and warn of words that training never showed.

    Raises:
        UserError: It can't, or none of its words is known.
    """
    tokenizer.ids([caption])
    strange = tokenizer.unknown_words(caption) if isinstance(tokenizer, Vocabulary) else []
    if strange and len(strange) == len(caption.split()):
        raise UserError(f"the caption {caption!r} has no word that this model was trained on")
    if strange:
        logging.getLogger("jepa_t").warning(
            "%r: the model was never trained on %s", caption, ", ".join(map(repr, strange))
        )


def ids_of(tokenizer: ImageTokenizer, tokens: Tensor) -> Tensor:
    """The codes ``[B, K]`` that tokens ``[B, K, C]`` are.

    Raises:
        UserError: The tokenizer has none.
    """
    if not isinstance(tokenizer, DiscreteImageTokenizer):
        raise UserError(
            f"an objective reads ids, and {type(tokenizer).__name__} has no codes; take a discrete tokenizer"
        )
    return in_float32(tokenizer.snap)(tokens)


def decode(tokenizer: ImageTokenizer, tokens: Tensor) -> Tensor:
    """Images ``[B, 3, H, W]`` in [-1, 1] of tokens ``[B, N, C]``: the one door by which images leave a model.

    Raises:
        UserError: They hold NaN or infinity.
    """
    parts = [in_float32(tokenizer.decode)(part) for part in tokens.split(DECODED)]
    images = torch.cat(parts).clamp(-1, 1)
    if not images.is_meta and not (images.isfinite().all() & tokens.isfinite().all()):  # codes are never NaN
        raise UserError("the model draws NaN or infinity; use an earlier checkpoint, or draw without --amp")
    return images


def check_fitted(*tokenizers: ImageTokenizer | TextTokenizer) -> bool:
    """True if all that must be fitted are.

    Raises:
        UserError: One isn't.
    """
    for part in tokenizers:
        if isinstance(part, Fitted) and not part.fitted:
            name = type(part).__name__
            raise UserError(f"{name} isn't fitted; call model.fit(images, captions) with the training data first")
    return True


def fit_tokenizers(
    image_tokenizer: ImageTokenizer,
    text_tokenizers: Sequence[TextTokenizer],
    images: Tensor | None,
    captions: Sequence[str],
) -> None:
    """Fit those that learn from data, unless that has been done.

    Args:
        image_tokenizer: The model's.
        text_tokenizers: Of its network, and of the average.
        images: ``[n, 3, H, W]`` in [-1, 1]; None will do where the image tokenizer isn't fitted, or has been.
        captions: Those that training will read, or what stands for them: all their words, and the longest.

    Raises:
        UserError: There are no images to fit on, or a caption can't be read: it is empty or too long.
    """
    if isinstance(image_tokenizer, Fitted) and not image_tokenizer.fitted:
        if images is None:
            raise UserError(f"{type(image_tokenizer).__name__} is fitted on images; give model.fit some")
        image_tokenizer.fit(images)
    first, distinct = text_tokenizers[0], list(dict.fromkeys(captions))
    if isinstance(first, Vocabulary) and isinstance(first, Fitted) and first.fitted:
        _tell_unknown(first, distinct)
    for text_tokenizer in text_tokenizers:
        if isinstance(text_tokenizer, Fitted) and not text_tokenizer.fitted:
            text_tokenizer.load_state_dict(dict(first.named_buffers()), strict=False)  # what the first has found
            if not text_tokenizer.fitted:
                text_tokenizer.fit(captions)
    first.ids(distinct)


def _tell_unknown(tokenizer: Vocabulary, captions: Sequence[str]) -> None:
    """Warn of captions with words that a vocabulary, chosen for other captions, doesn't have."""
    strange = [words for caption in captions if (words := tokenizer.unknown_words(caption))]
    if strange:
        logging.getLogger("jepa_t").warning(
            "%d of %d different captions have words that the trained text tokenizer doesn't know, such as %r: they are "
            "read as unknown, and only a training anew learns them",
            *(len(strange), len(captions), strange[0][0]),
        )


def texts_of(name: str, given: Any) -> list[Any]:
    """A text or several, as a list.

    Raises:
        UserError: It is neither; the message calls it ``name``.
    """
    try:
        if isinstance(given, bytes):
            raise TypeError
        return [given] if isinstance(given, str) else list(given)
    except TypeError as error:  # also of arrays and tensors of no dimension, which are iterable by their class
        raise UserError(f"{name} is {given!r}; give a text, or several") from error

"""A user's images and captions, and what a training reads of them."""

from .broken import BrokenSample
from .captioned import CaptionedImages
from .class_captions import Captions
from .class_prompts import ClassPrompts
from .collate import keep_batch
from .decoding import centre_crop, decode
from .image_dataset import ImageDataset
from .imagenet import ImageNet
from .latents import CachedLatents
from .sets import HoldsTokens, LabelledSet, PromptSet, TrainingSet
from .small import SmallImages, SmallPrompts

__all__ = [
    "BrokenSample",
    "CachedLatents",
    "CaptionedImages",
    "Captions",
    "ClassPrompts",
    "HoldsTokens",
    "ImageDataset",
    "ImageNet",
    "LabelledSet",
    "PromptSet",
    "SmallImages",
    "SmallPrompts",
    "TrainingSet",
    "centre_crop",
    "decode",
    "keep_batch",
]

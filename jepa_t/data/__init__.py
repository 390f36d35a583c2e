"""Captions and images."""

from .captioned import CaptionedImages
from .captions import Captions
from .class_prompts import ClassPrompts
from .digit_prompts import DigitPrompts
from .digits import InkedDigits, keep_batch
from .imagenet import ImageNet
from .latents import CachedLatents
from .pictures import BrokenPicture, PictureDataset, centre_crop, decode
from .shapes import ShapePrompts, ShapeScenes

__all__ = [
    "BrokenPicture",
    "CachedLatents",
    "CaptionedImages",
    "Captions",
    "ClassPrompts",
    "DigitPrompts",
    "ImageNet",
    "InkedDigits",
    "PictureDataset",
    "ShapePrompts",
    "ShapeScenes",
    "centre_crop",
    "decode",
    "keep_batch",
]

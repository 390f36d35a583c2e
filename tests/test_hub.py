"""Shared models, against a hub of one process: what is pushed is what is loaded; what fails is one line."""

import json
import logging

import huggingface_hub
import pytest
import torch
from hub_stand_in import running_hub
from tiny import CAPTIONS, config, make_model

from jepa_t import hub as hub_module
from jepa_t.card import Card
from jepa_t.cli import main
from jepa_t.errors import UserError
from jepa_t.files import weights_hash
from jepa_t.pipeline import Pipeline

REPO = "anna/tiny.model"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's own uploads


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with running_hub(str(tmp_path / "cache"), monkeypatch) as running:
        yield running


@pytest.fixture(scope="module")
def draw():
    return Pipeline(make_model(), config())


def same(one: Pipeline, other: Pipeline) -> bool:
    ours, theirs = one.model.ema.state_dict(), other.model.ema.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def fetched(hub) -> set[str]:
    return {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}


def test_what_is_pushed_is_what_is_loaded_to_the_bit(hub, draw, caplog):
    card = Card(data="made up", licence="cc0-1.0", metrics={"seen/r1": 0.5}, captions=CAPTIONS[:2])
    assert draw.push_to_hub(REPO, card).endswith(REPO)
    files = hub.files(REPO)
    assert set(files) == {".gitattributes", "README.md", "config.json", "model.safetensors", "samples.png"}
    text = files["README.md"].decode()
    for said in ("license: cc0-1.0", "Data: made up.", "| seen | 0.500 |", f'from_pretrained("{REPO}")', CAPTIONS[0]):
        assert said in text
    with caplog.at_level(logging.WARNING, "jepa_t"):
        loaded = Pipeline.from_pretrained(REPO, device="cpu")
    assert same(draw, loaded)
    assert loaded.config == json.loads(json.dumps(draw.config))
    named = "config.json, model.safetensors, README.md, samples.png"
    assert f"fetching {named} of 'anna/tiny.model' from http://127" in caplog.text
    assert fetched(hub) == set(named.split(", "))
    caplog.clear()
    Pipeline.from_pretrained(REPO, device="cpu")
    assert not caplog.text  # nothing is fetched twice


def test_a_revision_is_a_branch_or_a_commit_of_its_own(hub, draw):
    draw.push_to_hub(REPO)
    other = Pipeline(make_model(seed=1), config())
    other.push_to_hub(REPO, revision="better")
    assert same(Pipeline.from_pretrained(REPO, device="cpu"), draw)
    for revision in ("better", hub.branches[REPO]["better"]):
        assert same(Pipeline.from_pretrained(REPO, device="cpu", revision=revision), other)
    with pytest.raises(UserError, match=r"has no such branch, tag or commit: 'anna/tiny.model' at revision 'worse'"):
        Pipeline.from_pretrained(REPO, revision="worse")


def test_where_the_hub_is_away_the_copy_fetched_before_is_taken(hub, draw, monkeypatch, caplog):
    draw.push_to_hub(REPO)
    Pipeline.from_pretrained(REPO, device="cpu")
    hub.broken = True
    assert same(Pipeline.from_pretrained(REPO, device="cpu"), draw)
    assert "has a fault (500); taking the copy of 'anna/tiny.model' that was fetched before" in caplog.text
    with pytest.raises(UserError, match=r"no file or folder 'anna/other' here.*no copy of 'anna/other' was fetched"):
        Pipeline.from_pretrained("anna/other")
    with pytest.raises(UserError, match=r"has a fault.*nothing was pushed"):
        draw.push_to_hub(REPO)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert same(Pipeline.from_pretrained(REPO, device="cpu"), draw)
    assert "isn't asked, since HF_HUB_OFFLINE is set" in caplog.text


def test_what_is_pushed_between_the_look_and_the_fetch_is_looked_at_too(hub, draw, monkeypatch):
    draw.push_to_hub(REPO)
    look, looked = huggingface_hub.HfApi.model_info, []

    def and_then_a_push(*args, **options):
        info = look(*args, **options)
        if options.get("files_metadata"):  # as fetch looks
            looked.append(info.sha)
            if len(looked) == 1:
                draw.push_to_hub(REPO, dtype=torch.float16)
        return info

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", and_then_a_push)
    assert hub_module.fetch(REPO).name == looked[-1] != looked[0]


def test_private_absent_and_incomplete_models_are_told_in_a_line(hub, draw, monkeypatch):
    draw.push_to_hub(REPO, private=True)
    assert same(Pipeline.from_pretrained(REPO, device="cpu"), draw)
    hub.commit("anna/half", {"config.json": b"{}"})
    for token, name, says in [
        ("", REPO, "has no 'anna/tiny.model', or it is private"),
        ("hf_right", "anna/nothing", "no file or folder 'anna/nothing' here.* has no 'anna/nothing', or it is private"),
        ("hf_wrong", "anna/half", "refuses your token"),
        ("hf_right", "anna/half", "is no model of jepa_t: it has no model.safetensors"),
    ]:
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UserError, match=says) as caught:
            Pipeline.from_pretrained(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_a_push_without_a_right_token_is_told_in_a_line(hub, draw, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=r"refuses your token for 'anna/tiny\.model'.*HF_TOKEN") as caught:
        draw.push_to_hub(REPO)
    assert "\n" not in str(caught.value)
    assert not hub.commits


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "/a/b", "anna/ä", "~/model", "anna/", "../model", "anna--b/c", ""])
def test_what_is_no_name_on_the_hub_never_asks_it(hub, draw, name):
    with pytest.raises(UserError, match="is no name on the hub"):
        draw.push_to_hub(name)
    with pytest.raises(UserError):
        Pipeline.from_pretrained(name or "nothing")
    assert not hub.asked


def test_a_path_that_is_there_comes_first_then_the_library_s_own_models(hub, draw, tmp_path):
    other = Pipeline(make_model(seed=1), config())
    other.push_to_hub("anna/tiny")
    draw.save_pretrained(tmp_path / "anna" / "tiny")
    asked = len(hub.asked)
    assert same(Pipeline.from_pretrained("anna/tiny", device="cpu"), draw)
    assert Pipeline.from_pretrained("emoji", device="cpu").card.startswith("# emoji")
    with pytest.raises(UserError, match="revision is 'main', which only models on the hub have"):
        Pipeline.from_pretrained("anna/tiny", revision="main")
    with pytest.raises(UserError, match=r"no model at 'anna/absent.pth'"):
        Pipeline.from_pretrained("anna/absent.pth")
    assert len(hub.asked) == asked


def test_a_model_pushed_again_from_the_hub_keeps_its_card_and_sheet(hub, draw):
    draw.push_to_hub(REPO, Card(licence="cc-by-sa-4.0", captions=CAPTIONS[0]))
    first = hub.files(REPO)
    Pipeline.from_pretrained(REPO, device="cpu").push_to_hub(REPO)
    assert hub.files(REPO) == first
    assert b"cc-by-sa-4.0" in first["README.md"]
    Pipeline.from_pretrained(REPO, device="cpu").push_to_hub("bob/copy")
    assert hub.files("bob/copy")["samples.png"] == first["samples.png"]


def test_a_copy_says_its_own_name_size_and_hash_ahead_of_the_card_of_its_original(hub, draw, tmp_path):
    draw.save_pretrained(tmp_path / "model", card=Card(licence="mit", captions=CAPTIONS[:1]))
    original = (tmp_path / "model" / "README.md").read_text()
    front, rest = original[: (cut := original.index("# model"))], original[cut:]
    Pipeline.from_pretrained(tmp_path / "model", device="cpu").push_to_hub("anna/half", dtype=torch.float16)
    half = Pipeline.from_pretrained("anna/half", device="cpu")
    size = f"{len(hub.files('anna/half')['model.safetensors']) / 1e6:.1f} MB"
    said = f"is loaded as `anna/half`; its file has {size}; averaged weights SHA-256 {weights_hash(half.model.ema)}."
    assert half.card.startswith(f"{front}> This is a copy of the model ")
    assert half.card.endswith(f"{said}\n\n{rest}")
    half.save_pretrained(tmp_path / "third", torch.float16)  # a copy's copy has one such line
    assert (tmp_path / "third" / "README.md").read_text() == half.card.replace("`anna/half`", "`third`")
    Pipeline.from_pretrained(tmp_path / "model", device="cpu").save_pretrained(tmp_path / "again" / "model")
    assert (tmp_path / "again" / "model" / "README.md").read_text() == original


def test_a_card_of_the_hub_gives_way_to_a_card_that_says_something_alone(hub, draw, caplog):
    draw.push_to_hub(REPO, Card(licence="cc-by-sa-4.0"))
    draw.push_to_hub(REPO)
    assert b"cc-by-sa-4.0" in hub.files(REPO)["README.md"]
    assert "the card of 'anna/tiny.model' stays; give a card" in caplog.text
    draw.push_to_hub(REPO, Card(licence="mit"))
    assert b"license: mit" in hub.files(REPO)["README.md"]


def test_a_card_of_too_many_bytes_is_not_fetched(hub, draw):
    draw.push_to_hub(REPO)
    hub.commit(REPO, hub.files(REPO) | {"README.md": b"x" * (hub_module.EXTRAS["README.md"] + 1), "setup.py": b""})
    assert Pipeline.from_pretrained(REPO, device="cpu").card is None
    assert fetched(hub) - {"README.md"} == {"config.json", "model.safetensors"}  # which the push asked for


def test_what_is_no_text_is_no_name_and_no_revision(hub, draw):
    for call, says in [
        (lambda: draw.push_to_hub(None), "None is no name on the hub; give user/model"),
        (lambda: draw.push_to_hub(REPO, revision=5), "revision is 5; give a branch"),
        (lambda: Pipeline.from_pretrained(REPO, revision=5), "revision is 5; give a branch, a tag or a commit"),
        (lambda: Pipeline.from_pretrained(REPO, revision=""), "revision is ''; give a branch"),
    ]:
        with pytest.raises(UserError, match=says):
            call()
    assert not hub.asked


def test_only_what_belongs_to_a_model_is_pushed(hub, draw, tmp_path):
    draw.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "secret.txt").write_text("of mine")
    hub_module.push(tmp_path / "model", REPO)
    assert "secret.txt" not in hub.files(REPO)


def test_the_command_publishes_and_pushes_at_once(hub, draw, tmp_path, capsys):
    draw.save_pretrained(tmp_path / "model")
    words = ["publish", "model", "shared", "--licence", "mit", "--captions", *CAPTIONS[:2], "--push", REPO]
    assert main(words) == 0
    assert capsys.readouterr().out.endswith(f"/{REPO}\n")
    assert main(["sample", REPO, CAPTIONS[0], "--device", "cpu", "--revision", "main"]) == 0
    assert b"license: mit" in hub.files(REPO)["README.md"]
    assert main(["publish", "model", "shared", "--private"]) == 2
    assert main(["publish", "model", "shared", "--push", "tiny"]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "error: --private and --revision belong to --push USER/MODEL",
        "error: 'tiny' is no name on the hub; give user/model",
    ]

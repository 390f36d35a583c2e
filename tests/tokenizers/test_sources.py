"""Parts that others have trained: nothing in a folder is run, and what comes from the hub is data, and said."""

import json
import logging
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from tiny import CAPTIONS, make_tokenizer, pretrained_kl, same_text, shared_tokenizer
from tiny_text import saved

from jepa_t.errors import UserError

FOLDERS = {
    "HFText": lambda: ("model", saved("bert")),
    "OpenCLIPText": lambda: ("model", saved("open_clip")),
    "PooledText": lambda: ("model", saved("open_clip")),
    "KLTokenizer": lambda: ("source", pretrained_kl()["source"]),
}


@pytest.fixture
def copied(tmp_path):
    """A component's folder, to be changed, and what builds the component from it."""

    def run(name):
        option, source = FOLDERS[name]()
        folder = shutil.copytree(source, tmp_path / "copy")
        return folder, lambda given=folder: make_tokenizer(name, **{option: str(given)})

    return run


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("known", [True, False])
def test_a_folder_that_asks_to_run_its_code_is_refused_without_a_question(
    copied, name, config, known, tmp_path, monkeypatch
):
    folder, make = copied(name)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody is asked"))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\nclass Evil: ...\n")
    facts = json.loads((folder / config).read_text()) if (folder / config).is_file() else {}
    facts["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "evil.Evil")
    (folder / config).write_text(json.dumps(facts if known else facts | {"model_type": "evil"}))
    with pytest.raises(UserError, match=rf"refused: its {config} asks to run code of its own") as told:
        make()
    assert "\n" not in str(told.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", FOLDERS)
def test_weights_are_read_from_safetensors_alone(copied, name):
    folder, make = copied(name)
    (weights,) = folder.glob("*.safetensors")
    names = {"HFText": "pytorch_model.bin", "KLTokenizer": "diffusion_pytorch_model.bin"}
    torch.save({"weight": torch.ones(2)}, folder / names.get(name, "open_clip_pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(UserError, match="safetensors") as told:
        make()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["HFText", "OpenCLIPText", "KLTokenizer"])
@pytest.mark.parametrize("cached", [True, False])
def test_what_is_fetched_from_the_hub_is_said_and_holds_no_code(copied, name, cached, monkeypatch, caplog):
    folder, make = copied(name)
    asked = []

    def download(repository, local_files_only=False, **wanted):
        asked.append((repository, wanted))
        if local_files_only and not cached:
            raise LocalEntryNotFoundError("not here")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    tokenizer = make("hf-hub:someone/model" if name == "OpenCLIPText" else "someone/model")
    assert [repository for repository, _ in asked] == ["someone/model"] * 2
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in asked[1][1]["allow_patterns"])
    said = [record.message for record in caplog.records if record.name == "jepa_t"]
    assert (len(said), "fetching someone/model from the hub" in "".join(said)) == ((0, False) if cached else (1, True))
    if name != "KLTokenizer":
        assert same_text(tokenizer(CAPTIONS), shared_tokenizer(name)(CAPTIONS))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hub_that_gives_nothing_is_told_once_with_the_first_reason(copied, name, monkeypatch, caplog):
    def download(*_, **__):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s")
        try:
            raise OSError("Name or service not known")
        except OSError as error:
            raise LocalEntryNotFoundError("words " * 100) from error

    _, make = copied(name)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        UserError, match=r"doesn't give nobody/nothing: Name or service not known; without a network, give a folder"
    ):
        make("hf-hub:nobody/nothing" if "CLIP" in name or "Pooled" in name else "nobody/nothing")
    assert [record.name for record in caplog.records] == ["jepa_t"]


def test_a_tag_of_open_clip_is_fetched_as_safetensors_and_prepared_as_it_says(monkeypatch, tmp_path):
    """The weights come from the hub's folder, the images' mean from the tag."""
    import open_clip

    from jepa_t.tokenizers.open_clip_text import load_open_clip

    name, folder = "jepa-t-tag", shutil.copytree(saved("open_clip"), tmp_path / "hub")
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    facts = {"hf_hub": "someone/model/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3)}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: facts)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    network, _, quick = load_open_clip("CLIPFeatures", name, "tag", None)
    assert quick
    assert network.visual.image_mean == facts["mean"]
    own = load_open_clip("CLIPFeatures", str(folder), None, None)[0]
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), own.parameters(), strict=True))
    (folder / "open_clip_model.safetensors").rename(folder / "model.bin")
    with pytest.raises(
        UserError, match=r"has no open_clip_model\.safetensors; weights are read from safetensors alone"
    ):
        load_open_clip("CLIPFeatures", name, "tag", None)

"""Configs that are wrong say so in one line, before anything is built."""

import re
from pathlib import Path

import pytest
import torch
from engine_fakes import tiny_config

from jepa_t.engine import load_config, set_threads
from jepa_t.errors import UserError
from jepa_t.files import find_checkpoint


@pytest.fixture
def path(tmp_path):
    cfg = tiny_config(tmp_path)
    cfg.threads = "auto"
    cfg.pop("work_dir")
    cfg.dump(str(tmp_path / "tiny.py"))
    return str(tmp_path / "tiny.py")


def error(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_options_change_the_config(path):
    cfg = load_config(
        path,
        [
            "train_cfg.max_iters=7",
            "optim_wrapper.optimizer.lr=1",
            "model.poison=3",
            "param_scheduler.0.end=9",
            "threads=2",
            "default_hooks.ema.decay=0.5",
            "optim_wrapper.optimizer.betas=(0.8,0.9)",
        ],
    )
    assert cfg.train_cfg.max_iters == 7
    assert cfg.optim_wrapper.optimizer.lr == 1
    assert cfg.model.poison == 3
    assert cfg.param_scheduler[0].end == 9
    assert cfg.threads == 2
    assert cfg.default_hooks.ema.decay == 0.5
    assert cfg.optim_wrapper.optimizer.betas == (0.8, 0.9)


@pytest.mark.parametrize("names", ['["white shark","tench"]', "['white shark', 'tench']", "[white_shark,tench]"])
def test_a_list_of_texts_keeps_its_spaces_and_needs_no_quotes(tmp_path, path, names):
    prompts = "\ntest_dataloader = dict(dataset=dict(type='ClassPrompts', names='imagenet'))"
    (tmp_path / "more.py").write_text(Path(path).read_text() + prompts)
    cfg = load_config(str(tmp_path / "more.py"), [f"test_dataloader.dataset.names={names}"])
    assert [name.replace("_", " ") for name in cfg.test_dataloader.dataset.names] == ["white shark", "tench"]


def test_the_work_dir_is_named_after_the_config(path):
    assert load_config(path).work_dir == "work_dirs/tiny"
    assert load_config(path, work_dir="here").work_dir == "here"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("train_cfg.max_iter=7", "did you mean 'max_iters'"),
        ("trian_cfg.max_iters=7", "did you mean 'train_cfg'"),
        ("model.poisn=3", "did you mean 'poison'"),
        ("model.width.x=3", "key in model 'width'"),
        ("default_hooks.ema.decy=0.5", "did you mean 'decay'"),
        ("default_hooks.emaa.decay=0.5", "did you mean 'ema'"),
        ("train_cfg.max_iters=many", "a whole number"),
        ("train_cfg.max_iters=1.5", "a whole number"),
        ("model.type=7", "unknown component '7'"),
        ("param_scheduler.4.end=9", "entries 0 to 0"),
        ("train_cfg.max_iters", "key.sub=value"),
        ("optim_wrapper.optimizer.betas=(1,", "'(' was never closed"),
        ("model.type=TinyModle", "did you mean 'TinyModel'"),
        ("thread=2", "did you mean 'threads'"),
    ],
)
def test_a_wrong_option_is_told(path, option, says):
    assert says in error(load_config, path, [option])


def test_a_wrong_key_in_the_file_is_told(tmp_path, path):
    text = Path(path).read_text()
    (tmp_path / "top.py").write_text(text + "\nmodle = dict(type='TinyModel')\n")
    assert "did you mean 'model'" in error(load_config, str(tmp_path / "top.py"))
    (tmp_path / "deep.py").write_text(text + "\nmodel = dict(type='TinyModel', widht=3)\n")
    assert "did you mean 'width'" in error(load_config, str(tmp_path / "deep.py"))
    (tmp_path / "own.py").write_text(text + "\n_colours = ['red']\n")
    assert load_config(str(tmp_path / "own.py"))._colours == ["red"]


def test_files_that_cannot_be_read_are_told(tmp_path, path):
    assert "did you mean" in error(load_config, path.replace("tiny", "tinny"))
    assert "unknown config" in error(load_config, str(tmp_path / "no" / "such.py"))
    assert "did you mean 'ablation/digits_none'" in error(load_config, "elsewhere/ablation/digits_none.py")
    (tmp_path / "bad.py").write_text("a = 1\nb = = 2\n")
    assert re.search("line 2", error(load_config, str(tmp_path / "bad.py")))
    (tmp_path / "worse.py").write_text("a = 1 / 0\n")
    assert "ZeroDivisionError" in error(load_config, str(tmp_path / "worse.py"))
    (tmp_path / "plug.py").write_text("custom_imports = dict(imports=['no_such_plug'])\n")
    assert "No module named 'no_such_plug'" in error(load_config, str(tmp_path / "plug.py"))
    (tmp_path / "child.py").write_text("_base_ = ['./absent.py']\n")
    assert "absent.py" in error(load_config, str(tmp_path / "child.py"))


def test_nothing_to_resume_is_told(tmp_path):
    assert "no checkpoint" in error(find_checkpoint, str(tmp_path))
    (tmp_path / "last_checkpoint").write_text("iter_3.pth")
    assert "iter_3.pth" in error(find_checkpoint, str(tmp_path))
    (tmp_path / "iter_3.pth").touch()
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "iter_3.pth")
    assert find_checkpoint(str(tmp_path / "iter_3.pth")) == str(tmp_path / "iter_3.pth")


def test_threads(monkeypatch):
    before = torch.get_num_threads()
    try:
        assert set_threads(2) == torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert set_threads("auto") in (1, 2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        torch.set_num_threads(2)
        assert set_threads("auto") == 2
        for wrong in (0, -1, True, 1.5, "many"):
            assert "threads" in error(set_threads, wrong)
    finally:
        torch.set_num_threads(before)


def test_a_dict_is_given_in_one_option():
    digits = str(Path(__file__).parents[2] / "configs" / "jepat_digits.py")
    cfg = load_config(digits, ["model.fusion={'features': {'type': 'CrossAttention', 'heads': 2}}"])
    assert cfg.model.fusion.features == {"type": "CrossAttention", "heads": 2}
    assert "did you mean 'heads'" in error(
        load_config, digits, ["model.fusion={'features': {'type': 'CrossAttention', 'head': 2}}"]
    )
    assert "model.fusion={'features'" in error(load_config, digits, ["model.fusion={'features': "])

"""Configs that are wrong say so in one line, before anything is built."""

import os
from pathlib import Path

import pytest
import torch
from engine_fakes import tiny_config

from jepa_t.engine import load_config, set_threads
from jepa_t.errors import UserError
from jepa_t.files import CONFIGS


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


def test_the_work_dir_is_named_after_the_config(path):
    assert load_config(path).work_dir == "work_dirs/tiny"
    assert load_config(path, work_dir="here").work_dir == "here"
    assert load_config(path, work_dir="~/here").work_dir == str(Path.home() / "here")
    assert "work_dir is 3; load_config takes None or a text" in error(load_config, path, work_dir=3)


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
        ("model.type=7", "model: unknown model '7'"),
        ("optim_wrapper.constructor=x", "optim_wrapper.constructor: unknown optimizer wrapper constructor 'x': choose"),
        ("optim_wrapper.optimizer.type=AdamX", "optim_wrapper.optimizer: unknown optimizer 'AdamX'"),
        ("param_scheduler.4.end=9", "entries 0 to 0"),
        ("train_cfg.max_iters", "key.sub=value"),
        ("optim_wrapper.optimizer.betas=(1,", "'(' was never closed"),
        ("model.type=TinyModle", "did you mean 'TinyModel'"),
        ("thread=2", "did you mean 'threads'"),
        ("_steps=3", "the file's own, used up when it is read"),
        ("train_dataloader.batch_size=1.5", "batch_size takes None or a whole number"),
        ("train_dataloader.num_wokers=1", "did you mean 'num_workers'"),
        ("train_dataloader.sampler.dataset=x", "choose from _scope_, seed, type"),
        ("train_dataloader.generator=7", "'generator'"),
        ("train_dataloader.collate_fn.batch={}", "'batch'"),
        ("optim_wrapper.constructor=TagedGroups", "did you mean 'TaggedGroups'"),
    ],
)
def test_a_wrong_option_is_told(path, option, says):
    assert says in error(load_config, path, [option])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"default_hooks": {"checkpoint": {"max_keep_ckpts": None}}}, "SafeCheckpointHook takes a whole number"),
        ({"log_processor": {"by_epoch": 7}}, "LogProcessor takes True or False"),
        ({"train_dataloader": {"timeout": 2}}, "timeout is 2, and acts only with num_workers"),
        ({"train_dataloader": {"pin_memory_device": "é"}}, "'pin_memory_device'"),
        ({"train_dataloader": {"worker_init_fn": {"type": "os.system"}}}, "Python's own library has no component"),
        ({"default_hooks": {"logger": {"out_suffix": ""}}}, "out_suffix is '', and acts only with out_dir"),
        ({"test_evaluator": [None]}, "test_evaluator is [None]; Runner takes None or a dict or a list of dicts"),
        ({"test_cfg": {"type": "TestLoop", "evaluator": {}}}, "'evaluator'"),
        ({"compile": {}}, "'compile'"),
        ({"sync_bn": "é"}, "sync_bn is 'é'; Runner takes 'torch'"),
        ({"optim_wrapper": {"paramwise_cfg": []}}, "paramwise_cfg is []; GuardedOptimWrapper takes None or a dict"),
        ({"optim_wrapper": {"accumulative_counts": 10**20}}, "whole numbers are below 2^63"),
        ({"model": {"no_annotation": [float("nan")]}}, "no_annotation"),
        ({"randomness": {"deterministic": 1}}, "randomness.deterministic is 1; set_randomness takes True or False"),
    ],
)
def test_a_wrong_value_of_a_file_is_told(path, changes, says):
    assert says in error(load_config, path, changes=changes)


@pytest.fixture
def written(path, tmp_path):
    """The path of a config with these lines after the tiny one's."""

    (tmp_path / "broken.py").write_text("a = 1\nb = = 2\n")
    (tmp_path / "failing.py").write_text("a = 1\nb = a / 0\n")

    def written(*lines):
        (tmp_path / "more.py").write_text("\n".join([Path(path).read_text(), *lines, ""]))
        return str(tmp_path / "more.py")

    return written


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("modle = dict(type='TinyModel')", "did you mean 'model'"),
        ("model = dict(type='TinyModel', widht=3)", "did you mean 'width'"),
        ("train_dataloader = dict(batch_sise=3)", "did you mean 'batch_size'"),
        (
            "train_dataloader = dict(batch_size='8')",
            "batch_size is '8'; DataLoader takes None or a whole number",
        ),
        ("load_from = 7", "load_from is 7; Runner takes None or a text"),
        ("b = = 2", "line 31: invalid syntax"),
        ("b = '\0'", "null bytes"),
        ("a = 1 / 0", "ZeroDivisionError"),
        ("_base_ = ['./broken.py']", "broken.py', line 2: invalid syntax"),
        ("_base_ = ['./failing.py']", "failing.py', line 2: ZeroDivisionError"),
        ("custom_imports = dict(imports=['no_such_plug'])", "custom_imports: no module 'no_such_plug'"),
        ("_base_ = ['./absent.py']", "absent.py"),
        ("custom_imports = dict(imports=-1)", "write dict(imports=['my_module'])"),
        ("custom_imports = 3", "write dict(imports=['my_module'])"),
        ("custom_imports = dict(imports='os', modules=['re'])", "custom_imports has modules; it takes imports alone"),
        ("model = dict(type=lambda: 1)", "model.type: <lambda> is made in the config; move it to a module"),
        ("model = object()", "model is of kind object, which no file can hold"),
    ],
)
def test_a_mistake_in_the_file_is_told(written, line, says):
    assert says in error(load_config, written(line))


def test_a_file_imports_what_it_likes_and_names_classes_paths_and_variables_of_its_own(written):
    path = written(
        "import os",
        "from pathlib import Path",
        "from engine_fakes import TinyModel",
        "_colours = ['red']",
        "work_dir = Path('runs') / os.path.basename('a/b')",
        "model = dict(type=TinyModel, width=3)",
    )
    cfg = load_config(path)
    assert cfg._colours == ["red"]
    assert cfg.work_dir == os.path.join("runs", "b")
    assert cfg.model.type == "engine_fakes.TinyModel"
    cfg.dump(path)
    assert load_config(path).to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    ("code", "says"), [("b = = 2", "plug_of_mine.py, line 2)"), ("import os\nos.nothing", "plug_of_mine.py, line 3)")]
)
def test_an_error_in_an_imported_module_keeps_its_place(written, tmp_path, monkeypatch, code, says):
    (tmp_path / "plug_of_mine.py").write_text(f"# a plug-in\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert says in error(load_config, written("custom_imports = dict(imports=['plug_of_mine'])"))


def test_configs_are_found_by_name_and_path(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    expected = load_config(str(CONFIGS / "ablation" / "digits_none.py"))
    assert load_config("ablation/digits_none").to_dict() == expected.to_dict()
    Path("mine.py").write_text('_base_ = ["ablation/digits_none"]\n')
    assert load_config("mine.py").model == expected.model
    assert "did you mean" in error(load_config, path.replace("tiny", "tinny"))
    assert "unknown config" in error(load_config, "no/such.py")
    assert "did you mean 'ablation/digits_none'" in error(load_config, "elsewhere/ablation/digits_none.py")
    assert "did you mean 'jepat_digits'" in error(load_config, "jepat_digit")


def test_threads(monkeypatch):
    before = torch.get_num_threads()
    try:
        assert set_threads(2) == torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert set_threads("auto") in (1, 2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        torch.set_num_threads(2)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # the count given is each process's
        assert set_threads("auto") == 2
        for wrong in (0, -1, True, 1.5, "many"):
            assert "threads" in error(set_threads, wrong)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("given", [{"work_dir": "~/there"}, {"changes": {"work_dir": "~/there"}}])
def test_a_work_dir_may_begin_at_home(given):
    assert load_config("jepat_digits", **given).work_dir == str(Path.home() / "there")


def test_a_dict_is_given_in_one_option():
    cfg = load_config("jepat_digits", ["model.fusion={'features': {'type': 'CrossAttention', 'heads': 2}}"])
    assert cfg.model.fusion.features == {"type": "CrossAttention", "heads": 2}
    assert "did you mean 'heads'" in error(
        load_config, "jepat_digits", ["model.fusion={'features': {'type': 'CrossAttention', 'head': 2}}"]
    )
    assert "model.fusion={'features'" in error(load_config, "jepat_digits", ["model.fusion={'features': "])

"""Encoders probed after their training, and handed to another training that leaves them as they are."""

import copy
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config

from jepa_t.benchmark import PRESETS, Preset, Request, plan, probing, run, work
from jepa_t.benchmark.configs import config_hash
from jepa_t.benchmark.plan import rows
from jepa_t.benchmark.records import keep
from jepa_t.benchmark.report import write_report
from jepa_t.benchmark.suites import FREEZE, FUSIONS, Arm
from jepa_t.benchmark.tasks import CONFIGS, TASKS
from jepa_t.engine import JEPATRunner
from jepa_t.errors import UserError
from jepa_t.files import find_checkpoint, load_checkpoint
from jepa_t.trainable import unwrap

ONE = Preset(1, {}, 8)
WORDS = {"text_tokenizer": {"depth": 0}}


def in_this_process(work, runs, folder, _jobs, _moved, _finished):
    """As ``run_all``, without the seconds that other processes need to begin."""
    results, failed = {}, {}
    for key, cfg in runs.items():
        try:
            results[key] = work(cfg, folder / key, lambda _done: None)
        except UserError as error:
            failed[key] = str(error)
    return results, failed


@pytest.fixture(scope="module")
def suite(tmp_path_factory, small_text):
    """Two trainings, the second with the backbone of a third: their folder, the plan, and the records."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "small.py").write_text(small_text)
    second = Arm({"model": WORDS | FREEZE}, None, True, False, FUSIONS["none"])
    arms = {"from nothing": Arm({"model": WORDS}), "of none": second}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "run_all", in_this_process)
        patch.setitem(TASKS, "own", replace(TASKS["probes-shapes"], validation=("seen", "unseen_relation")))
        planned = {config_hash(row.config): [row] for row in rows(arms, "own", folder / "small.py", ONE)}
        yield folder, planned, run("backbone", planned, folder, 1)


def weights(folder):
    return load_checkpoint(find_checkpoint(str(folder)))["state_dict"]


def test_the_second_training_keeps_what_the_first_has_averaged(suite):
    folder, planned, _ = suite
    by_arm = {row.arm: key for key, (row,) in planned.items()}
    first, second = (weights(folder / "runs" / by_arm[arm]) for arm in ("backbone of none", "of none"))
    for part in ("encoder", "predictor"):
        names = [name for name in second if name.startswith(f"ema.{part}.")]
        assert names
        for name in names:
            assert torch.equal(second[name], first[name])
            assert torch.equal(second[name.replace("ema.", "network.")], first[name])
    assert all(torch.equal(first[n], second[n]) for n in first if n.startswith("image_tokenizer."))
    head = [name for name in first if name.startswith("ema.objectives.flow")]
    assert not any(torch.equal(first[name], second[name]) for name in head if "norm" not in name and first[name].any())


def test_the_first_training_is_hashed_into_the_second_and_fills_no_line(suite):
    _, planned, (records, failed) = suite
    assert failed == []
    nothing, reused = (next(r for r in records if r.arm == arm) for arm in ("from nothing", "of none"))
    assert not any(record.arm.startswith("backbone") for record in records)
    assert reused.parameters < nothing.parameters
    assert reused.steps > reused.budget == nothing.steps  # frozen steps are cheaper, and compute is equal
    (second,) = [row for (row,) in planned.values() if "backbone" in row.config]
    assert second.config.backbone == next(key for key, (row,) in planned.items() if row.place is None)


def test_a_run_whose_backbone_failed_says_so(suite, tmp_path):
    _, planned, _ = suite
    alone = {key: of_run for key, of_run in planned.items() if "backbone" in of_run[0].config}
    told = ["own, of none, seed 0: the run whose backbone it takes has failed"]
    assert run("backbone", alone, tmp_path, 1) == ([], told)
    broken = {key: [replace(row, config=copy.deepcopy(row.config))] for key, (row,) in planned.items()}
    (first,) = (row for (row,) in broken.values() if row.place is None)
    first.config.model.encoder.depth = 0
    _, told = run("backbone", broken, tmp_path, 1)
    assert {line.partition(":")[0] for line in told} == {"own, backbone of none, seed 0", "own, of none, seed 0"}
    assert any("depth" in line for line in told)


def test_a_first_training_is_the_run_that_is_probed(small):
    def hashes(arms, first):
        return [config_hash(r.config) for r in rows(arms, "own", small, ONE) if (r.place is None) == first]

    second = Arm({"model": WORDS | FREEZE}, None, False, False, FUSIONS["late"])
    probed = hashes({"jepa_t": Arm(), "late": FUSIONS["late"]}, False)
    assert hashes({"from nothing": Arm({"model": WORDS}), "of late": second}, True) == probed[1:]
    for task in ("reuse", "reuse-classes", "reuse-sentences"):
        assert (TASKS[task].config, TASKS[task].validation) == (TASKS["probes"].config, TASKS["probes"].validation)
        assert PRESETS["quick"].steps[task] == PRESETS["quick"].steps["probes"]


def test_sentences_follow_class_names_whatever_the_fusion():
    planned = plan("backbone", PRESETS["smoke"], Request(["reuse-sentences"]))
    made = {row.arm: row.config for (row,) in planned.values()}
    second = Config.fromfile(CONFIGS / TASKS["reuse-sentences"].config).model
    firsts = {name: cfg.model for name, cfg in made.items() if name.startswith("backbone of ")}
    assert len(firsts) == len(FUSIONS) + 1
    for name, model in firsts.items():
        fused = FUSIONS.get(name.removeprefix("backbone of "), FUSIONS["jepa_t"])
        assert model.text_tokenizer.type == "ClassEmbedding"
        assert model.get("fusion") == fused.changes.get("model", {}).get("fusion", second.get("fusion"))
    for cfg in (cfg for name, cfg in made.items() if name not in firsts):
        assert (cfg.model.text_tokenizer, cfg.model.get("fusion")) == (second.text_tokenizer, second.get("fusion"))


def test_the_untrained_encoder_is_the_one_that_training_began_with(suite, tmp_path):
    _, planned, _ = suite
    cfg = copy.deepcopy(next(row.config for (row,) in planned.values() if row.arm == "from nothing"))
    cfg.work_dir = str(tmp_path)
    began = unwrap(JEPATRunner.from_cfg(cfg).model)
    found = probing._untrained(cfg, began)
    for name, value in began.ema.encoder.state_dict().items():
        assert torch.equal(found.ema.encoder.state_dict()[name], value)


def test_probed_runs_stand_beside_what_they_began_as_and_raw_pixels(suite, monkeypatch):
    folder, planned, (records, _) = suite
    by_arm = {record.arm: record for record in sorted(records, key=lambda record: record.place)}
    assert [*by_arm] == ["from nothing", "of none", "untrained", "pixels"]
    for record in records:
        for label in ("shape", "colour", "place"):
            bits = record.outcomes[f"linear/{label}"]
            assert len(bits) == 54
            assert record.metrics[f"linear/{label}"] == bits.count("1") / 54
    assert by_arm["pixels"].outcomes["linear/place"] != by_arm["untrained"].outcomes["linear/place"]
    assert {"context/nearest/shape", "null/diversity"} <= by_arm["of none"].metrics.keys()
    assert "null/diversity" not in by_arm["pixels"].metrics
    monkeypatch.setattr(probing, "probe_model", pytest.fail)
    assert run("backbone", planned, folder, 1) == (records, [])  # kept, not probed again


def test_the_report_shows_probes_with_the_baselines(suite):
    folder, _, (records, _) = suite
    keep(folder, "backbone", records, "command", "2026-01-01")
    report = write_report(folder).read_text()
    assert "| untrained | 0 | 1 |" in report
    assert "linear/shape" in report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "arms", "figures"),
    [
        ("probes", ["jepa_t", "early"], {"linear/digit", "context/nearest/ink", "unseen/all"}),
        ("reuse", ["of early"], {"unseen/all"}),
        ("reuse-classes", ["of none", "untrained"], {"seen/all"}),
        ("reuse-sentences", ["of late"], {"paraphrase/all"}),
    ],
)
def test_the_suite_runs_on_digits(tmp_path, task, arms, figures):
    planned = plan("backbone", PRESETS["smoke"], Request([task], arms))
    records, failed = run("backbone", planned, tmp_path, 1)
    assert failed == []
    assert {record.arm for record in records} == {*arms, *(probing.BASELINES if task == "probes" else ())}
    assert all(figures <= record.metrics.keys() for record in records if record.arm in arms)

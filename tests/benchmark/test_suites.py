from dataclasses import replace
from pathlib import Path

import pytest

from jepa_t.benchmark import PRESETS, SUITES, TASKS, Arm, Preset, Request, plan, run, samplers
from jepa_t.benchmark.configs import configure, step_flops
from jepa_t.benchmark.plan import rows
from jepa_t.benchmark.suites import FUSIONS
from jepa_t.benchmark.tasks import CONFIGS
from jepa_t.errors import UserError

TWO = Preset(seeds=2, steps={}, prompts=8)


@pytest.mark.parametrize("suite", SUITES)
def test_every_arm_of_a_suite_is_a_valid_config(suite):
    one = Preset(seeds=1, steps={}, prompts=8)
    for task, arms in SUITES[suite]({}).items():
        planned = rows(arms, task, CONFIGS / TASKS[task].config, one)
        planned = [row for row in planned if row.place is not None]  # the others give their backbones
        assert [row.arm for row in planned] == list(arms)
        for row in planned:
            if arms[row.arm].match:
                assert row.parameters == pytest.approx(planned[0].parameters, rel=0.02), row.arm


def test_arms_differ_in_their_changes_alone(small):
    arms = {"jepa_t": Arm(), "late": FUSIONS["late"]}
    planned = rows(arms, "own", small, TWO)
    assert [(row.arm, row.seed) for row in planned] == [("jepa_t", 0), ("late", 0), ("jepa_t", 1), ("late", 1)]
    first, second = (row.config.to_dict() for row in planned[:2])
    assert second["model"].pop("fusion") == "late"
    assert first["model"].pop("objectives")["feature"] == second["model"].pop("objectives")["feature"]
    assert first == second
    assert planned[0].parameters == pytest.approx(planned[1].parameters, rel=0.02)
    assert planned[1].parameters != planned[1].unmatched


def test_some_arms_are_the_runs_that_they_are_among_all(small):
    arms = {"jepa_t": Arm(), "none": FUSIONS["none"], "late": FUSIONS["late"]}
    every = {row.arm: row for row in rows(arms, "own", small, TWO)}
    some = rows(arms, "own", small, TWO, chosen=["none", "late"])
    assert [(row.arm, row.place) for row in some[:2]] == [("none", 0), ("late", 1)]
    for row in some[2:]:
        assert row.config.to_dict() == every[row.arm].config.to_dict()
    planned = plan("entrances", PRESETS["smoke"], Request(tasks=["digits"], arms=["cross", "add"]))
    assert [row.arm for of_run in planned.values() for row in of_run] == ["add", "cross"]


def test_parameters_are_left_alone_when_asked(small):
    planned = rows({"jepa_t": Arm(), "none": FUSIONS["none"]}, "own", small, TWO, match=False)
    assert planned[1].parameters == planned[1].unmatched < 0.9 * planned[0].parameters


def test_equal_compute_buys_more_steps(small):
    without = {"model": {"objectives": {"feature": {"weight": 0.0}}}}
    planned = rows({"with": Arm(), "without": Arm(without, equal_compute=True)}, "own", small, TWO)
    assert planned[0].config.train_cfg.max_iters == planned[1].budget == 16
    spent = [row.config.train_cfg.max_iters * step_flops(row.config) for row in planned[:2]]
    assert spent[1] == pytest.approx(spent[0], abs=0.5 * step_flops(planned[1].config))


@pytest.mark.parametrize(
    ("suite", "options", "says"),
    [
        ("fussion", {}, "unknown suite 'fussion': did you mean 'fusion'?"),
        ("fusion", {"tasks": ["shape"]}, "unknown task of the suite 'fusion' 'shape': did you mean 'shapes'?"),
        ("fusion", {"seeds": 0}, "--seeds is 0"),
        ("fusion", {"configs": {"a": Path("missing.py")}}, "missing.py"),
        ("fusion", {"configs": {"a": CONFIGS / "tokenizers" / "fsq_digits.py"}}, "needs a model of type JEPAT"),
        ("objective", {"fusions": {"x": {}}}, "--fusion has no meaning for 'objective'; use fusion or data"),
        ("text", {"configs": {"a": CONFIGS / "jepat_digits.py"}}, "--configs has no meaning for 'text'"),
        ("speed", {"seeds": 2}, "--seeds has no meaning for 'speed'; use fusion or"),
        ("speed", {"tasks": ["bas"]}, "unknown task of the suite 'speed' 'bas': did you mean 'base'?"),
        ("speed", {"minutes": 0}, "--minutes is 0"),
        ("speed", {"arms": ["fwe"]}, "unknown arm of the suite 'speed' 'fwe': did you mean 'few'?"),
        ("speed", {"arms": ["few"], "tasks": ["base", "fusions"]}, "are ways to sample, which 'fusions' has none of"),
        ("text", {"minutes": 2}, "--minutes has no meaning for 'text'; use speed"),
        ("fusion", {"arms": ["lat"]}, "unknown arm of the suite 'fusion' 'lat': did you mean 'late'?"),
        (
            "fusion",
            {"tasks": ["digits", "emoji"], "arms": ["cross"]},
            "the task 'digits' of 'fusion' has none of the arms",
        ),
        ("sampler", {"arms": ["fats"]}, "unknown setting of the suite 'sampler' 'fats': did you mean 'fast'?"),
    ],
)
def test_wrong_requests_are_told_while_planning(suite, options, says):
    with pytest.raises(UserError) as caught:
        plan(suite, PRESETS["smoke"], Request(**options))
    assert says in str(caught.value)


def test_a_fusion_of_ones_own_runs_beside_the_arms_that_are_named():
    asked = Request(tasks=["digits"], arms=["late"], fusions={"Add": {"features": {"type": "Add"}}})
    planned = plan("fusion", PRESETS["smoke"], asked)
    assert [row.arm for found in planned.values() for row in found] == ["late", "Add"]
    asked = replace(asked, tasks=["digits", "emoji"], arms=["cross"])
    rows = [row for found in plan("fusion", PRESETS["smoke"], asked).values() for row in found]
    assert sorted((row.task, row.arm) for row in rows) == [("digits", "Add"), ("emoji", "Add"), ("emoji", "cross")]


@pytest.mark.parametrize("change", ["per_split=4", 'splits=("swap", "seen")', "seed=7"])
def test_arms_that_are_asked_other_prompts_are_told_while_planning(small, tmp_path, change):
    other = tmp_path / "other.py"
    other.write_text(f'_base_ = ["{small}"]\ntest_dataloader = dict(dataset=dict({change}))\n')
    request = Request(configs={"a": small, "other": other})
    if "per_split" in change:  # which the preset sets
        assert plan("fusion", TWO, request)
        return
    with pytest.raises(
        UserError, match=r"the test of 'other' .* isn't that of 'a'; arms are compared prompt by prompt"
    ):
        plan("fusion", TWO, request)


def test_arms_of_one_config_keep_their_places(small, tmp_path):
    other, copy = tmp_path / "other.py", tmp_path / "copy.py"
    other.write_text(f'_base_ = ["{small}"]\nmodel = dict(fusion="late")\n')
    copy.write_text(f'_base_ = ["{small}"]\n')
    planned = plan("fusion", Preset(1, {}, 8), Request(configs={"a": small, "b": other, "c": copy}))
    assert len(planned) == 2
    assert {row.arm: row.place for rows in planned.values() for row in rows} == {"a": 0, "b": 1, "c": 2}
    assert [record.arm for record in run("fusion", planned, tmp_path, 1)[0] if record.place == 2] == ["c"]


def test_a_wrong_fusion_is_told_while_planning(small):
    with pytest.raises(UserError, match="Gatte"):
        plan("fusion", PRESETS["smoke"], Request(configs={"a": small}, fusions={"x": {"features": {"type": "Gatte"}}}))


def test_a_tokenizer_that_is_not_trained_is_told_while_planning(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint at .*train it first.*jepa-t train tokenizers/fsq_digits"):
        plan("objective", Preset(1, {}, 8), Request(tasks=["digits"]))


def test_records_do_not_depend_on_the_number_of_processes(small, tmp_path):
    planned = plan("fusion", TWO, Request(configs={"a": small}))
    assert len(planned) == 2
    one, two = (run("fusion", planned, tmp_path / str(jobs), jobs)[0] for jobs in (1, 2))
    for record, other in zip(one, two, strict=True):
        assert replace(record, train_seconds=0, test_seconds=0) == replace(other, train_seconds=0, test_seconds=0)
    assert run("fusion", planned, tmp_path / "1", 1) == (one, [])  # kept, not run again


@pytest.fixture
def wild(small, tmp_path):
    """A config whose losses aren't finite."""
    config = tmp_path / "wild.py"
    config.write_text(f'_base_ = ["{small}"]\noptim_wrapper = dict(optimizer=dict(lr=1e30), clip_grad=None)\n')
    return config


def test_a_run_that_fails_leaves_the_others_their_records(small, wild, tmp_path):
    planned = plan("fusion", Preset(1, {}, 8), Request(configs={"a": small, "wild": wild}))
    records, failed = run("fusion", planned, tmp_path, 1)
    assert [record.arm for record in records] == ["a"]
    assert len(failed) == 1
    assert failed[0].startswith("own, wild, seed 0: ")


def test_the_sampler_suite_draws_from_one_training_in_many_ways(small, tmp_path, monkeypatch):
    settings = {"balanced": {"steps": 4}, "fast": {"preset": "fast", "guidance_scale": 1.7}}
    monkeypatch.setattr(samplers, "SETTINGS", settings)
    monkeypatch.setattr(samplers, "ROUNDS", 1)
    planned = plan("sampler", Preset(2, {}, 8), Request(configs={"a": small}))
    records, failed = run("sampler", planned, tmp_path, 2)
    assert not failed
    assert [(record.seed, record.arm) for record in records] == [
        (0, "balanced"), (0, "fast"), (1, "balanced"), (1, "fast")
    ]  # fmt: skip
    assert records[0].guidance_scale in (1.0, 1.5, 2.0, 3.0)
    assert set(records[0].validation) == {"1.0", "1.5", "2.0", "3.0"}
    assert (records[1].guidance_scale, records[1].validation) == (1.7, {})
    assert records[0].curve  # of the training, told once
    assert not records[1].curve
    assert records[0].metrics["network evaluations"] < records[1].metrics["network evaluations"]
    assert all(record.metrics["ms per picture"] > 0 for record in records)
    kept = sorted(tmp_path.rglob("sampler_*.json"))
    assert len(kept) == 4
    before = [path.stat().st_mtime_ns for path in kept]
    kept[0].unlink()
    again, _ = run("sampler", planned, tmp_path, 1)
    assert [path.stat().st_mtime_ns for path in kept][1:] == before[1:]
    for one, other in zip(again, records, strict=True):
        assert one.outcomes == other.outcomes  # however many processes drew
        for figure in one.metrics.keys() - {"ms per picture"}:
            assert one.metrics[figure] == pytest.approx(other.metrics[figure], nan_ok=True)


def test_trainings_for_few_evaluations_are_tasks_of_the_sampler_suite_when_named():
    quick = PRESETS["quick"]
    tasks = {row.task for runs in plan("sampler", quick).values() for row in runs}
    assert tasks == {"digits", "pixels", "shapes"}
    named = plan("sampler", quick, Request(tasks=["pixels-few", "shapes-one"], seeds=1))
    few, one = (row.config for runs in named.values() for row in runs)
    wanted = configure(CONFIGS / "jepat_digits_few.py", steps=1600, prompts=200, validation=("seen", "unseen"))
    assert few.to_dict() == wanted.to_dict()
    assert one.model.objectives.flow.type == "MeanFlow"
    assert one.train_cfg.max_iters == quick.steps["shapes"]


def test_the_sampler_suite_times_nothing_where_every_training_failed(wild, tmp_path):
    planned, moved = plan("sampler", Preset(1, {}, 8), Request(configs={"wild": wild})), []
    records, failed = run("sampler", planned, tmp_path, 1, lambda *seen: moved.append(seen))
    assert records == []
    assert len(failed) == 1
    assert {seen[0] for seen in moved} == {"training"}


def test_the_sampler_suite_leaves_out_what_an_objective_does_not_read(small, tmp_path, monkeypatch):
    small.write_text(
        small.read_text()
        .replace("flow=dict(", 'flow=dict(type="GaussianDiffusion", ')
        .replace("sampler=dict(", "sampler=dict(_delete_=True, ")
    )
    names = "balanced", "fast", "8 solver steps", "Euler", "Heun, 8 solver steps", "Halton"
    monkeypatch.setattr(samplers, "SETTINGS", {name: samplers.SETTINGS[name] for name in names})
    monkeypatch.setattr(samplers, "ROUNDS", 1)
    planned, moved = plan("sampler", Preset(1, {}, 8), Request(configs={"a": small})), []
    records, _ = run("sampler", planned, tmp_path, 1, lambda *seen: moved.append(seen[:3]))
    assert [record.arm for record in records] == ["balanced", "fast", "8 solver steps", "Halton"]
    drawn = [seen for seen in moved if seen[0] == "sampler"]
    assert drawn == sorted(drawn)
    assert {total for _, _, total in drawn} == {6}
    assert drawn[-1] == ("sampler", 6, 6)
    assert [seen for seen in moved if seen[0] == "timing"] == [("timing", 0, 1), ("timing", 1, 1)]

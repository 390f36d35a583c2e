import json
from dataclasses import replace

import pytest

from jepa_t.benchmark import plots, write_report
from jepa_t.benchmark.records import Record, Timing, curve, keep, outcomes
from jepa_t.errors import UserError


def record(arm, seed, right, metrics=(), **more):
    bits = "1" * right + "0" * (20 - right)
    figures = {"unseen/all": right / 20, "seen/all": right / 20, "frechet": 0.5 + seed, "real/all": 0.99}
    facts = {
        "task": "digits", "place": int(arm != "jepa_t"), "parameters": 1000, "steps": 40, "guidance_scale": 2.0,
        "unmatched": 1000 if arm == "jepa_t" else 900, "machine": "a CPU", "versions": {"torch": "2"},
        "metrics": figures | dict(metrics), "outcomes": {"unseen/all": bits, "seen/all": bits},
        "curve": {"20": {"unseen/all": 0.3}, "40": {"unseen/all": right / 20}},
    }  # fmt: skip
    return Record(arm=arm, seed=seed, **facts | more)


@pytest.fixture
def folder(tmp_path):
    records = [record(arm, seed, right + seed) for arm, right in (("jepa_t", 16), ("late", 4)) for seed in range(3)]
    keep(tmp_path, "fusion", records, "python tools/benchmark.py fusion", "2026-01-01")
    return tmp_path


def test_the_table_has_means_differences_and_steps(folder):
    text = write_report(folder).read_text()
    assert "| jepa_t | 1,000 | 3 | 2, 2, 2 | 0.850 [" in text
    assert "| late | 1,000 (900 unmatched) | 3 | 2, 2, 2 | 0.250 [" in text
    assert "| late | -0.600 [-" in text
    assert "| jepa_t | 40, 40, 40 | > 40, > 40, 40 |" in text
    assert "real images of these prompts: 0.990" in text
    assert "python tools/benchmark.py fusion" in text
    for name in ("fusion_digits_dots.png", "fusion_digits_curves.png"):
        assert f"]({name})" in text
        assert (folder / name).stat().st_size > 5000


def test_the_report_begins_with_what_was_found_and_where(folder):
    title, found, suite, _, contents, line = write_report(folder).read_text().split("\n\n")[:6]
    assert (title, contents) == ("# Benchmark", "## Contents")
    assert "Of 1 comparison with more than one seed, the best variant is ahead of all others in 1," in found
    assert suite == "- fusion: digits: `jepa_t` is best, ahead of all others."
    assert line == "- [fusion: digits](#fusion-digits): `jepa_t` is best, 0.850 by `unseen/all`; ahead of all others."


def test_a_report_made_again_is_the_same(folder):
    def files():
        write_report(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert files() == files()


def test_suites_stand_side_by_side(folder):
    scans = [record(f"{arm} of {size}", 0, 9, series=[arm, size]) for arm in ("jepa_t", "late") for size in (30, 100)]
    keep(folder, "data", scans, "command", "2026-01-02")
    timed = []
    for seed in (0, 1):
        for place, (arm, ms) in enumerate({"balanced": [2.0, 2.0, 3.0], "fast": [1.0, 1.0, 2.0]}.items()):
            spent = {"ms per picture": ms[0], "network evaluations": 32 * (1 + seed)}
            times = [one / two for one, two in zip(ms, (2.0, 2.0, 3.0), strict=True)]
            timed.append(record(arm, seed, 9, spent, times=times, place=place))
    keep(folder, "sampler", timed, "command", "2026-01-02")
    sdpa = Timing("attention", "sdpa", [1.0, 1.0], 2.0, 3.0, {"torch": "2"}, "a CPU")
    math = replace(sdpa, arm="math", ratios=[2.0, 1.5])
    keep(folder, "speed", [sdpa, math], "command", "2026-01-02")
    text = write_report(folder).read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Contents", "## How to read the tables", "## fusion", "## data", "## sampler", "## speed"
    ]  # fmt: skip
    assert "data_digits_scans.png" in text
    assert "sampler_digits_cost.png" in text
    assert "| ms per picture | network evaluations | times as fast as balanced, of the same config |" in text
    assert "| 1 | 32, 64 | 2.00 (1.50 to 2.00) |" in text
    assert "| math | 2.00 | 3 | 0.58 (0.50 to 0.67) |" in text


def test_few_evaluations_are_compared_with_the_published_procedure_of_another_task(tmp_path):
    few = [record("few", seed, 12 + seed, task="pixels-few") for seed in range(3)]
    keep(tmp_path, "sampler", few, "command", "2026-01-02")
    assert "drawn from as published" not in write_report(tmp_path).read_text()
    plain = [record("reference, guidance 2", seed, 10 + seed, task="pixels") for seed in range(3)]
    keep(tmp_path, "sampler", plain, "command", "2026-01-02")
    text = write_report(tmp_path).read_text()
    table = text.partition("Paired differences to `reference, guidance 2` of `pixels`")[2]
    assert "| few | +0.100 [" in table.partition("###")[0]


def test_a_task_run_again_replaces_itself_alone(folder):
    keep(folder, "fusion", [record("jepa_t", 0, 20, task="pairs")], "other", "2026-01-02")
    keep(folder, "fusion", [record("jepa_t", 0, 20, task="pairs")], "last", "2026-01-03")
    kept = json.loads((folder / "results.json").read_text())["suites"]["fusion"]
    assert sorted(record["task"] for record in kept["records"]) == ["digits"] * 6 + ["pairs"]
    assert {task: made["date"] for task, made in kept["made"].items()} == {
        "digits": "2026-01-01",
        "pairs": "2026-01-03",
    }
    text = write_report(folder).read_text()
    assert "`python tools/benchmark.py fusion`, 2026-01-01" in text
    assert "`last`, 2026-01-03" in text


def test_a_figure_that_an_arm_lacks_leaves_its_cell_empty(tmp_path):
    records = [record("a", 0, 20, place=0), record("b", 0, 10)]
    for kept in (records[1].metrics, records[1].outcomes):
        del kept["unseen/all"]
    keep(tmp_path, "fusion", records, "command", "2026-01-02")
    line = next(line for line in write_report(tmp_path).read_text().splitlines() if line.startswith("| b |"))
    assert line.split(" | ")[4:6] == ["", "0.500 [0.300, 0.700]"]


def test_the_data_suite_compares_equal_amounts(tmp_path):
    records = [record(f"{arm} of {size}", 0, right, series=[arm, size]) for arm, size, right in
               (("jepa_t", 30, 4), ("jepa_t", 100, 16), ("late", 30, 2), ("late", 100, 4))]  # fmt: skip
    keep(tmp_path, "data", records, "command", "2026-01-02")
    text = write_report(tmp_path).read_text()
    assert "Paired differences to `jepa_t` with as many scans" in text
    assert "| late of 100 | -0.600" in text


def test_the_plan_decides_the_order_and_the_reference_whichever_run_failed(tmp_path):
    records = [record("b", 0, 4, place=1), record("b", 1, 4, place=1), record("a", 1, 16, place=0)]
    keep(tmp_path, "fusion", records, "command", "2026-01-02")
    text = write_report(tmp_path).read_text()
    assert text.index("| a | 1") < text.index("| b | 1")
    assert "Paired differences to `a`" in text
    assert "| a, itself | 0.800" in text
    assert "| b | -0.600" in text
    keep(tmp_path, "fusion", records[:2], "command", "2026-01-02")
    text = write_report(tmp_path).read_text()
    assert "No run of the reference was finished" in text
    assert "Paired" not in text.partition("### ")[2]


def test_a_point_without_the_first_lines_is_compared_with_nothing(tmp_path):
    points = [("jepa_t", 100, 0), ("late", 30, 1), ("late", 100, 1)]
    records = [record(f"{arm} of {size}", 0, 9, series=[arm, size], place=place) for arm, size, place in points]
    keep(tmp_path, "data", records, "command", "2026-01-02")
    lines = write_report(tmp_path).read_text().partition("Paired")[2].partition("Steps")[0].splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| late")] == ["| late of 100"]


def test_presets_at_their_scales_are_lines_of_a_plot_of_their_own(tmp_path):
    lines = {"balanced": None, "fast, guidance 1": ["fast", 1.0], "fast, guidance 2": ["fast", 2.0]}
    spent = {"ms per picture": 1.0}
    records = [
        record(arm, 0, 9 + place, spent, times=[1.0], place=place, line=line)
        for place, (arm, line) in enumerate(lines.items())
    ]
    keep(tmp_path, "sampler", records, "command", "2026-01-02")
    text = write_report(tmp_path).read_text()
    assert "sampler_digits_trade.png" in text
    assert "sampler_digits_cost.png" in text


def test_the_costs_plot_leaves_lines_of_all_configs_to_their_own(tmp_path, monkeypatch):
    labels = []
    arms = [f"{config}, {setting}" for config in "ab" for setting in ("balanced", "fast, guidance 1")]
    line = {True: ["fast", 1.0], False: None}
    records = [record(arm, 0, 9, {"ms per picture": 1.0}, line=line["guidance" in arm]) for arm in arms]
    monkeypatch.setattr(plots, "_keep", lambda plot, *_: labels.extend(plot.axes[0].get_legend_handles_labels()[1]))
    plots.costs(tmp_path, "x", arms, ["unseen/all"], records)
    assert labels == ["a, balanced", "b, balanced"]


def test_one_seed_is_told_and_notes_stand_below_the_table_without_real_images(tmp_path):
    one = record("a", 0, 9)
    del one.metrics["real/all"]
    keep(tmp_path, "fusion", [one], "command", "2026-01-02")
    lines = write_report(tmp_path).read_text().splitlines()
    note = next(number for number, line in enumerate(lines) if line.startswith("Steps of training: 40."))
    assert "One seed: these intervals tell of its prompts alone" in lines[note]
    assert lines[note - 1] == ""
    keep(tmp_path, "fusion", [record("a", seed, 9) for seed in range(2)], "command", "2026-01-02")
    assert "One seed:" not in write_report(tmp_path).read_text()


def test_outcomes_and_curves_are_read_by_seed():
    records = [record("a", 0, 3), record("a", 1, 5), record("b", 0, 9)]
    found = outcomes(records, "a", "unseen/all")
    assert {seed: values.sum() for seed, values in found.items()} == {0: 3, 1: 5}
    assert outcomes(records, "a", "frechet")[1].tolist() == [1.5]
    assert curve(records[0], "unseen/all") == {20: 0.3, 40: 0.15}


@pytest.mark.parametrize(("content", "says"), [(None, "no results.json"), ("{", "is damaged")])
def test_a_folder_without_results_is_told(tmp_path, content, says):
    if content:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=says):
        write_report(tmp_path)


def test_a_plot_that_can_not_be_finished_leaves_the_old_one(folder, monkeypatch):
    write_report(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def cut(_figure, file, **_options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots.pyplot().Figure, "savefig", cut)
    with pytest.raises(OSError, match="No space left"):
        write_report(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

import pytest

from jepa_t.benchmark.findings import Finding, anchor, compared, fastest, overview
from jepa_t.benchmark.records import Record, Timing


def records(arms, seeds=(0, 1, 2)):
    """Of each arm how many of 40 prompts are right; each seed the same."""
    facts = {"task": "digits", "parameters": 1, "unmatched": 1, "steps": 1, "guidance_scale": 1.0}
    return [
        Record(
            arm=arm, seed=seed, place=place, machine="", versions={},
            metrics={"unseen/all": right / 40, "frechet": 9.0},
            outcomes={"unseen/all": "1" * right + "0" * (40 - right)}, **facts,
        )
        for place, (arm, right) in enumerate(arms.items())
        for seed in seeds
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arms", "says", "behind"),
    [
        ({"a": 4, "b": 36, "c": 35}, "difference excludes 0 for `a`, and holds 0 for `c`", 1),
        ({"a": 36, "b": 4}, "difference excludes 0 for every other arm", 1),
        ({"a": 36, "b": 35}, "difference holds 0 for every other arm", 0),
        ({"a": 36, "b": 4, "c": 35, "d": 3, "e": 35, "f": 2}, "excludes 0 for 3 of 5 others", 3),
    ],
)
def test_the_best_arm_and_which_others_an_interval_tells_from_it(arms, says, behind):
    found = compared("fusion: digits", ["frechet", "unseen/all"], records(arms))
    assert f"by `unseen/all` `{max(arms, key=arms.get)}` is best with 0.900; " in found.says
    assert says in found.says
    assert (found.behind, found.others) == (behind, len(arms) - 1)


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (records({"a": 4, "b": 36}, seeds=[0]), "`b` is best with 0.900; seeds are too few"),
        (records({"a": 36}), "by `unseen/all` `a` reaches 0.900."),
        ([], "no figure that is a share was kept."),
    ],
)
def test_where_no_interval_tells_none_is_claimed(kept, says):
    found = compared("fusion: digits", ["unseen/all"], kept)
    assert says in found.says
    assert found.behind is None


def test_timings_name_the_fastest():
    kept = [Timing("t", arm, ratios, 1.0, 1.0, {}, "") for arm, ratios in (("plain", [1.0]), ("quick", [0.5, 0.25]))]
    assert fastest("speed: t", kept).says == "`quick` is 3.00 (2.00 to 4.00) times as fast as `plain`."
    assert fastest("speed: t", kept[:1]).says == "`plain` is fastest."


def test_the_overview_counts_and_links():
    found = [
        Finding("fusion: a b, 2", "x.", 2, 2),
        Finding("b", "y.", 1, 2),
        Finding("c", "z.", 0, 2),
        Finding("d", "w."),
    ]
    text = overview(found)
    assert "Comparisons with more than one seed: 3. In 1 of them (fusion: a b, 2) the best arm" in text
    assert "excludes 0. In 1 it is so ahead of some others, and in 1 of none." in text
    assert "- [fusion: a b, 2](#fusion-a-b-2): x.\n- [b](#b): y." in text
    assert "Comparisons" not in overview(found[3:])
    assert anchor("own: A + b (c)") == "own-a--b-c"

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
        ({"a": 4, "b": 36, "c": 35}, "ahead of `a`, but not of `c`.", "a"),
        ({"a": 36, "b": 4}, "ahead of all others.", "b"),
        ({"a": 36, "b": 35}, "ahead of none of the others.", ""),
        ({"a": 36, "b": 4, "c": 35, "d": 3, "e": 35, "f": 2}, "ahead of 3 of 5 others.", "bdf"),
    ],
)
def test_the_best_arm_and_which_others_an_interval_tells_from_it(arms, says, behind):
    found = compared("fusion: digits", ["frechet", "unseen/all"], records(arms))
    best = max(arms, key=arms.get)
    assert found.says == f"`{best}` is best, 0.900 by `unseen/all`; {says}"
    assert (found.best, {*found.behind}) == (best, {*behind})
    assert {*found.level} == {*arms} - {best, *behind}


@pytest.mark.parametrize(
    ("few", "says"),
    [
        ({"c": 2}, "`b` is best of the arms with several seeds, 0.900 by `unseen/all`; ahead of all others. Hints"),
        ({"c": 40, "d": 4}, "for an interval: `c` 1.000, `d` 0.100."),
    ],
)
def test_arms_of_few_seeds_are_hints_beside_the_others_intervals(few, says):
    found = compared("text: emoji", ["unseen/all"], [*records({"a": 4, "b": 36}), *records(few, seeds=[0])])
    assert says in found.says
    assert (found.best, found.behind, {*found.level}) == ("b", ["a"], {*few})


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (records({"a": 4, "b": 36}, seeds=[0]), "`b` is best, 0.900 by `unseen/all`; seeds are too few"),
        (records({"a": 4, "b": 4}, seeds=[0]), "all arms have 0.100 by `unseen/all`; seeds are too few"),
        (records({"a": 4}) + records({"b": 36}, seeds=[0]), "`b` is best, 0.900 by `unseen/all`; seeds are too few"),
        (records({"a": 36}), "`a` reaches 0.900 by `unseen/all`."),
        ([], "no figure that is a share was kept."),
    ],
)
def test_where_no_interval_tells_none_is_claimed(kept, says):
    found = compared("fusion: digits", ["unseen/all"], kept)
    assert says in found.says
    assert not found.best


def test_timings_name_the_fastest():
    kept = [Timing("t", arm, ratios, 1.0, 1.0, {}, "") for arm, ratios in (("plain", [1.0]), ("quick", [0.5, 0.25]))]
    assert fastest("speed: t", kept).says == "`quick` is 3.00 (2.00 to 4.00) times as fast as `plain`."
    assert fastest("speed: t", kept[:1]).says == "`plain` is fastest."


def test_the_overview_says_what_was_found_counts_and_links():
    found = [
        Finding("a: x y, 2", "w.", "b", ["c", "d"], []),
        Finding("a: z", "w.", "b", ["c"], ["d"]),
        Finding("e: z", "w.", "b", [], ["d"]),
        Finding("f: z", "w."),
    ]
    text = overview(found)
    assert (
        "Of 3 comparisons with more than one seed, the best variant is ahead of all others in 1, of some in 1, and"
        in text
    )
    assert "- a, 2 tasks: best is `b` on 2; `c` behind it on all.\n- e: z: `b` is best, ahead of none" in text
    assert "- [a: x y, 2](#a-x-y-2): w.\n- [a: z](#a-z): w." in text
    assert overview(found[3:]).startswith("No trained variants are compared here")
    assert anchor("own: A + b (c)") == "own-a--b-c"

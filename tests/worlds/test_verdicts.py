from jepa_t.evaluation.metric import in_order
from jepa_t.worlds.verdicts import shares, swap_group


def record(index, right, **facts):
    return {"index": index, "verdict": {"all": right}, "facts": facts}


def test_records_come_in_order_and_once():
    records = [record(2, True), record(0, False), record(2, True), record(1, True)]
    assert [r["index"] for r in in_order(records)] == [0, 1, 2]


def test_a_pair_is_right_when_both_are():
    records = [
        record(0, True, group=0), record(1, True, group=0),
        record(2, True, group=1), record(3, False, group=1),
        record(4, True),
    ]  # fmt: skip
    assert swap_group(records) == [True, False]


def test_shares_leave_out_what_was_not_asked():
    assert shares({"seen/all": [True, False, True, True], "swap_group": []}) == {"seen/all": 0.75}

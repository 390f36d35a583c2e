from jepa_t.evaluation.metric import in_order
from jepa_t.evaluation.verdicts import PromptMetric, shares, swap_group


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


class Flags(PromptMetric):
    """Says what it was given."""

    def process(self, _batch, samples):
        self.results += samples

    def columns(self, results):
        return {"seen/all": [record["verdict"]["all"] for record in in_order(results)]}

    def other_figures(self, records):
        return {"count": len(records)}


def test_figures_are_shares_of_the_verdicts_and_others_of_each_record_once():
    metric = Flags()
    metric.process(None, [record(1, True), record(0, False), record(1, True)])
    assert metric.compute_metrics(metric.results) == {"seen/all": 0.5, "count": 2}
    assert metric.compute_metrics([]) == {}


def test_the_benchmark_compares_what_says_that_all_is_right():
    figures = [
        "seen/all",
        "unseen/located/all",
        "swap_group",
        "unseen/swap_group",
        "seen/colour",
        "real/all",
        "frechet",
    ]
    assert list(filter(Flags().is_headline, figures)) == figures[:4]

# Placeholder: replaced by the evaluation's own file when that is merged.
test_dataloader = None
test_cfg = None
test_evaluator = None

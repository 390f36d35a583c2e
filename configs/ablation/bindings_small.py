# The same with nine kinds, of which training never shows two.
_base_ = ["./bindings.py"]
_kinds = dict(_delete_=True, name="tiny", colours=3, shapes=3)
train_dataloader = dict(dataset=dict(preset=_kinds))
test_dataloader = dict(dataset=dict(preset=_kinds))
test_evaluator = dict(preset=_kinds)

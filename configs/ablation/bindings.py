# Single objects of 24 kinds, six colours of four shapes, of which training never shows four: can a colour that was never
# seen on a shape be drawn on it?
_base_ = ["../jepat_shapes.py"]
_kinds = dict(_delete_=True, name="tiny", colours=6, shapes=4)
train_dataloader = dict(dataset=dict(preset=_kinds, families=dict(_delete_=True, located=1.0)))
test_dataloader = dict(
    dataset=dict(preset=_kinds, families=("located",), splits=("seen", "unseen_binding", "unseen_place"))
)
test_evaluator = dict(preset=_kinds)

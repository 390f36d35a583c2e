# bindings.py with two objects in half of the scenes: "a red circle left of a blue square".
_base_ = ["./bindings.py"]
train_dataloader = dict(dataset=dict(families=dict(related=1.0)))
test_dataloader = dict(
    dataset=dict(
        families=("located", "related"), splits=("seen", "unseen_binding", "unseen_place", "unseen_relation", "swap")
    )
)

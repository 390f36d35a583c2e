# ShapeScenes: coloured shapes whose captions need word order; judged exactly. A config with another
# preset sets it in the three places.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the images are rendered once, into one tensor
    dataset=dict(
        type="ShapeScenes",
        preset="tiny",
        size=16384,
        families=dict(located=0.5, related=0.5),
    ),
    sampler=dict(type="SeededSampler"),
    collate_fn=dict(type="keep_batch"),
)
test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    dataset=dict(type="ShapePrompts", preset="tiny", per_split=400),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="keep_batch"),
)
test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="ShapesMetric", preset="tiny")

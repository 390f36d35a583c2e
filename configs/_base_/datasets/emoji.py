# OpenMoji's emoji with their names as captions; judged by retrieval among all of them.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the images are drawn once, into one tensor
    dataset=dict(type="EmojiImages", pixels=64),
    sampler=dict(type="SeededSampler"),
    collate_fn=dict(type="keep_batch"),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type="EmojiPrompts", per_split=200),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="keep_batch"),
)
test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="EmojiMetric")

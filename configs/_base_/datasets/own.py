# A captioned folder of one's own, in memory: x.png and x.txt side by side; a tenth is held out and judges.
# Everything is said in one place: --cfg-options source=FOLDER size=32
source = "data/own"
size = 64
held_out = 0.1
max_broken = 0.001  # share of the images that may be broken; they are left out and named
_own = dict(source="$source", size="$size", held_out="$held_out", max_broken="$max_broken")
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the images are read once
    dataset=dict(type="SmallImages", **_own),
    sampler=dict(type="SeededSampler"),
    collate_fn=dict(type="keep_batch"),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type="SmallPrompts", **_own),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="keep_batch"),
)
test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="RetrievalMetric", gallery=dict(type="SmallImages", part="all", **_own))

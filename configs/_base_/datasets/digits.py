# Real handwritten digits (scikit-learn's 1,797 scans) in coloured ink on coloured paper, with captions.
# A config with two digits sets layout="pairs" or "stacked" in the three places.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the images are rendered once, into one tensor
    dataset=dict(type="InkedDigits", size=24000, layout="single"),
    sampler=dict(type="SeededSampler"),
    collate_fn=dict(type="keep_batch"),
)
test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    dataset=dict(type="DigitPrompts", layout="single", splits=("seen", "unseen", "paraphrase"), per_split=400),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="keep_batch"),
)
test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="DigitsMetric", layout="single")

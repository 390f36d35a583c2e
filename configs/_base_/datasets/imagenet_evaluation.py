# FID-50k on ImageNet 256 x 256; docs/evaluation.md says where the reference and the weights of the features come from.
test_dataloader = dict(
    batch_size=250,  # drawn at once by each process
    num_workers=4,  # decode the images that are measured
    dataset=dict(type="ClassPrompts", count=50000, names="imagenet"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="keep_batch"),
)
test_cfg = dict(type="GenerationLoop")
test_evaluator = dict(
    type="DistributionMetric",
    features=dict(type="InceptionFeatures", weights=None),  # None downloads them, where there is a network
    reference="data/VIRTUAL_imagenet256_labeled.npz",
)

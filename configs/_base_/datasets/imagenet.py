# ImageNet-1K, 256 x 256, both flips: latents where jepa-t cache-latents has written them, else the images.
# The batch follows from train_cfg.total_batch.
train_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type="CachedLatents",
        folder="data/imagenet_latents",
        dataset=dict(type="ImageNet", root="data/imagenet"),
    ),
    sampler=dict(type="SeededSampler"),
    collate_fn=dict(type="keep_batch"),
)

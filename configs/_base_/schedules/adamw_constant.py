# AdamW with a linear warm-up, then a constant rate. A config sets train_cfg.max_iters, the rate and the warm-up:
# param_scheduler = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=STEPS)]
optim_wrapper = dict(
    type="GuardedOptimWrapper",
    constructor="TaggedGroups",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.02),
    clip_grad=dict(max_norm=3.0),
    precision="auto",
)
param_scheduler = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100)]
train_cfg = dict(type="TrainLoop", max_iters=1000)

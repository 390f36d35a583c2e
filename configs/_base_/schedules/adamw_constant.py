# AdamW with a linear warm-up, then a constant rate. A config sets train_cfg.max_iters, the rate and the warm-up, a share
# of the training or a number of steps: param_scheduler = dict(warmup=0.05)
optim_wrapper = dict(
    type="GuardedOptimWrapper",
    constructor="TaggedGroups",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.02),
    clip_grad=dict(max_norm=3.0),
    precision="auto",
)
param_scheduler = dict(type="WarmupStableDecayLR", warmup=0.1)
train_cfg = dict(type="TrainLoop", max_iters=1000)

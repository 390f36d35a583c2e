# The paper's recipe. A config sets train_cfg.max_iters, in steps of the optimizer: _epoch of them see each image once.
_base_ = ["./adamw_constant.py", "../default_runtime.py"]
_batch = 2048
_epoch = 1281167 / _batch
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),  # of 256 images; a step's real number decides
    accumulative_counts=1,
    paramwise_cfg=dict(no_decay=["objectives"]),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = dict(warmup=round(100 * _epoch), start_factor=1e-6)
train_cfg = dict(total_batch=_batch)
custom_hooks = [
    dict(
        type="PreviewHook",
        interval=2500,
        captions=["a photo of a goldfish", "a drawing of a goldfish", "a photo of a castle", "a photo of a volcano"],
    )
]
default_hooks = dict(ema=dict(decay=0.9999), checkpoint=dict(interval=2500))

# Of a tokenizer of small images: no average is kept, and nothing but the tokenizer itself is fitted.
_base_ = ["./adamw_linear.py", "../default_runtime.py"]
train_cfg = dict(max_iters=9000)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=1.0), precision="bf16")
param_scheduler = dict(warmup=0.02, decay=0.98)
default_hooks = dict(
    _delete_=True,
    runtime_info=dict(type="MeanLossHook"),
    timer=dict(type="SpeedHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="SafeCheckpointHook", interval=500, max_keep_ckpts=2),
    progress=dict(type="ProgressHook"),
    interrupt=dict(type="InterruptHook"),
)

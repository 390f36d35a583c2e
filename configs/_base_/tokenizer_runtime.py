# What every training of a tokenizer shares: no average is kept, and nothing but the tokenizer itself is fitted.
_base_ = ["./default_runtime.py"]
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

# What every run shares. The hooks are named, so a config changes one with
# default_hooks = dict(checkpoint=dict(interval=500)).
default_scope = "jepa_t"
randomness = dict(seed=0)
threads = "auto"  # threads of a process on a CPU: a number, or auto, which measures one against all at the start
env_cfg = dict(dist_cfg=dict(backend="nccl"))
log_level = "INFO"
load_from = None
resume = False

default_hooks = dict(
    runtime_info=dict(type="MeanLossHook"),
    tokenizers=dict(type="FitTokenizersHook"),
    rehearsal=dict(type="RehearsalHook"),
    ema=dict(type="EMAHook", decay=0.9999),
    timer=dict(type="SpeedHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="SafeCheckpointHook", interval=1000, max_keep_ckpts=2),
    progress=dict(type="ProgressHook"),
    interrupt=dict(type="InterruptHook"),
)
log_processor = dict(by_epoch=False, window_size=1)  # each logged value is already a mean since the line before
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])

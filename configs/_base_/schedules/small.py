# Of images that memory holds: bf16, which CPUs with matrix instructions gain from as GPUs do, and tokens computed once.
_base_ = ["./adamw_linear.py", "../default_runtime.py"]
train_cfg = dict(max_iters=12000)
optim_wrapper = dict(optimizer=dict(lr=2e-3), precision="bf16")
param_scheduler = dict(warmup=0.02, decay=0.98)
default_hooks = dict(ema=dict(decay=0.999), tokens=dict(type="HoldTokensHook"))

# Of a tokenizer of small images.
_base_ = ["./adamw_linear.py", "../tokenizer_runtime.py"]
train_cfg = dict(max_iters=9000)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=1.0), precision="bf16")
param_scheduler = dict(warmup=0.02, decay=0.98)

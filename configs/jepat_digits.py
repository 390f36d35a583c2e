_base_ = [
    "./_base_/models/jepat_tiny.py",
    "./_base_/datasets/digits.py",
    "./_base_/schedules/adamw_decay.py",
    "./_base_/default_runtime.py",
]
model = dict(
    image_tokenizer=dict(type="PatchTokenizer", size=(8, 8), patch=2),
    sampler=dict(steps=16, solver="euler", solver_steps=20, guidance_scale=3.0),
)
_steps = 600
train_cfg = dict(max_iters=_steps)
optim_wrapper = dict(optimizer=dict(lr=2e-3))

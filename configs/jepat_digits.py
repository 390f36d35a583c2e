# One inked digit from a sentence: the embedded default, minutes on a laptop.
# Seen on two quiet cores: 1,600 steps in 122 s; all right 0.988 seen, 0.993 unseen; Frechet 0.502.
_base_ = [
    "./_base_/models/jepat_tiny.py",
    "./_base_/datasets/digits.py",
    "./_base_/schedules/adamw_linear.py",
    "./_base_/default_runtime.py",
]
model = dict(
    image_tokenizer=dict(type="PatchTokenizer", size=(8, 8), patch=2, whiten=True),
    sampler=dict(
        type="MaskedSampler",
        steps=16,
        draw=dict(solver="euler", solver_steps=20),
        guidance_scale=1.75,
        guidance_schedule="linear",
    ),
    mask_ratio=dict(low=0.05, std=0.6),  # sampling goes on until one token is left
)
train_cfg = dict(max_iters=1600)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = dict(warmup=1 / 16, decay=0.5)
default_hooks = dict(ema=dict(decay=0.998), checkpoint=dict(interval=500))
custom_hooks = [
    dict(
        type="PreviewHook",
        interval=500,
        captions=[
            "a red three on white paper",
            "a blue seven",
            "the digit five in green ink",
            "on black paper the digit zero in yellow",
        ],
    )
]

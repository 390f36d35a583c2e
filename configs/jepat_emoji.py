# Emoji of 64 x 64 pixels from text, as discrete tokens: flow matching on 16 tokens of four FSQ codes each.
# It needs the tokenizer: python tools/train.py configs/tokenizers/fsq_emoji.py
_base_ = [
    "./_base_/tokenizers/fsq_emoji.py",
    "./_base_/datasets/emoji.py",
    "./_base_/schedules/adamw_linear.py",
    "./_base_/default_runtime.py",
]
model = dict(
    type="JEPAT",
    width=160,
    image_tokenizer=dict(checkpoint="work_dirs/fsq_emoji", **_base_._tokenizer),
    text_tokenizer=dict(type="TransformerText", width=96, depth=2, heads=4, length=24, vocabulary=2048, dropout=0.1),
    encoder=dict(type="ContextEncoder", depth=3, heads=4, registers=4, dropout=0.1),
    predictor=dict(type="Predictor", depth=4, heads=4, dropout=0.1),
    fusion="jepa_t",
    objectives=dict(
        flow=dict(type="FlowMatching", head_width=192, head_depth=3, draws=4),
        feature=dict(type="FeaturePrediction", weight=1.0),
    ),
    mask_ratio=dict(low=0.2, std=0.5),
    text_drop=0.1,
    sampler=dict(type="MaskedSampler", steps=4, guidance_scale=1.5, draw=dict(solver="euler", solver_steps=4)),
)
train_cfg = dict(max_iters=9000)
optim_wrapper = dict(optimizer=dict(lr=2e-3), precision="bf16")
param_scheduler = dict(warmup=0.02, decay=0.98)
default_hooks = dict(ema=dict(decay=0.999), checkpoint=dict(interval=1000), tokens=dict(type="HoldTokensHook"))

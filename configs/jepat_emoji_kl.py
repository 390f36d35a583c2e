# jepat_emoji.py with continuous latents in the place of codes.
# It needs the tokenizer: jepa-t train tokenizers/kl_emoji
# Run for 4,000 steps, where it was ahead of codes: docs/emoji.md.
_base_ = [
    "./_base_/models/jepat_emoji.py",
    "./_base_/tokenizers/kl_emoji.py",
    "./_base_/datasets/emoji.py",
    "./_base_/schedules/small.py",
]
model = dict(image_tokenizer=dict(checkpoint="work_dirs/kl_emoji", **_base_._tokenizer))
train_cfg = dict(max_iters=20000)

# Emoji of 64 x 64 pixels from text, as discrete tokens: flow matching on 16 tokens of four FSQ codes each.
# It needs the tokenizer: jepa-t train tokenizers/fsq_emoji
_base_ = [
    "./_base_/models/jepat_emoji.py",
    "./_base_/tokenizers/fsq_emoji.py",
    "./_base_/datasets/emoji.py",
    "./_base_/schedules/small.py",
]
model = dict(image_tokenizer=dict(checkpoint="work_dirs/fsq_emoji", **_base_._tokenizer))
train_cfg = dict(max_iters=20000)

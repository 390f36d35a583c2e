# Emoji of 64 x 64 pixels from text, as discrete tokens: flow matching on 16 tokens of four FSQ codes each.
# It needs the tokenizer: jepa-t train tokenizers/fsq_emoji
_base_ = [
    "./_base_/models/jepat_emoji.py",
    "./_base_/tokenizers/fsq_emoji.py",
    "./_base_/datasets/emoji_colours.py",
    "./_base_/schedules/small.py",
]
model = dict(
    image_tokenizer=dict(checkpoint="work_dirs/fsq_emoji", **_base_._tokenizer),
    text_tokenizer=dict(hyphenated=True),  # "medium-dark" is no kind of "dark"
)
train_cfg = dict(max_iters=30000)

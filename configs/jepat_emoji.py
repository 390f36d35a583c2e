# Emoji of 64 x 64 pixels from text, as discrete tokens: flow matching on 16 tokens of four FSQ codes each.
# It goes on where jepat_emoji_early.py ended, with all times alike, which draws cleaner flats. Before it:
#   jepa-t train tokenizers/fsq_emoji
#   jepa-t train jepat_emoji_early
# A model with other parts begins in jepat_emoji_early.py too, or has load_from=None.
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
load_from = "work_dirs/jepat_emoji_early"
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
train_cfg = dict(max_iters=10000)

# Emoji in a shorter training, of continuous latents in the place of codes, and things in colours: "a blue fox".
# It needs the tokenizer: jepa-t train tokenizers/kl_emoji
_base_ = [
    "./_base_/models/jepat_emoji.py",
    "./_base_/tokenizers/kl_emoji.py",
    "./_base_/datasets/emoji_colours.py",
    "./_base_/schedules/small.py",
]
model = dict(
    image_tokenizer=dict(checkpoint="work_dirs/kl_emoji", **_base_._tokenizer),
    text_tokenizer=dict(hyphenated=True),  # "medium-dark" is no kind of "dark"
    objectives=dict(flow=dict(logit_normal=(-0.8, 0.8))),  # more early times, when the caption decides
)
train_cfg = dict(max_iters=12000)

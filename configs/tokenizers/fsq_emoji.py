# Emoji as 16 tokens of four codes each: the tokenizer that jepat_emoji.py begins with.
#   jepa-t train tokenizers/fsq_emoji
#   jepa-t test tokenizers/fsq_emoji
# Seen on one thread of a CPU with bf16: 9,000 steps in 18 minutes.
_base_ = [
    "../_base_/tokenizers/fsq_emoji.py",
    "../_base_/datasets/emoji_colours.py",
    "../_base_/schedules/tokenizer.py",
]
model = dict(type="TokenizerTraining", tokenizer=_base_._tokenizer)
train_dataloader = dict(batch_size=16)
test_dataloader = dict(dataset=dict(splits=("seen", "unseen_tone", "unseen_gender", "unseen_colour"), images=True))
test_evaluator = [dict(type="ReconstructionMetric"), dict(type="EmojiMetric")]

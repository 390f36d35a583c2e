# Emoji as 16 tokens of 20 continuous numbers: the tokenizer that jepat_emoji_kl.py begins with.
#   jepa-t train tokenizers/kl_emoji
#   jepa-t test tokenizers/kl_emoji
_base_ = [
    "../_base_/tokenizers/kl_emoji.py",
    "../_base_/datasets/emoji_colours.py",
    "../_base_/schedules/tokenizer.py",
]
model = dict(type="TokenizerTraining", tokenizer=_base_._tokenizer)
train_dataloader = dict(batch_size=16)
test_dataloader = dict(dataset=dict(splits=("seen", "unseen_tone", "unseen_gender", "unseen_colour"), images=True))
test_evaluator = [dict(type="ReconstructionMetric"), dict(type="EmojiMetric")]

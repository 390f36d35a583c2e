# Emoji, and things among them in other colours than their own, such as "a blue fox".
_base_ = ["./emoji.py"]
train_dataloader = dict(dataset=dict(recoloured=2))
test_dataloader = dict(
    dataset=dict(
        splits=("seen", "objects", "unseen_tone", "unseen_gender", "unseen_colour", "paraphrase", "synonym"),
    )
)

# jepat_emoji.py with the tokenizer of the model that comes along, so that nothing has to be trained before it.
_base_ = ["../jepat_emoji.py"]
model = dict(
    image_tokenizer=dict(checkpoint="emoji"),
    encoder=dict(dropout=0.0),
    predictor=dict(dropout=0.0),
)
train_cfg = dict(max_iters=10000)

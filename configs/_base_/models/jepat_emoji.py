# What the networks on emoji share, whatever their image tokens.
_base_ = ["./jepat_small.py"]
model = dict(
    text_tokenizer=dict(length=20, dropout=0.1),
    encoder=dict(dropout=0.0),
    predictor=dict(dropout=0.0),
    mask_ratio=dict(low=0.35, std=0.2),  # few tokens stand as a rule, so that the caption has to be read
)

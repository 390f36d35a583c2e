# 8 x 8 pixels as 16 ids: shared by the config that trains this tokenizer and those that use it.
_tokenizer = dict(
    type="QuantizedAutoencoder",
    size=(8, 8),
    stride=2,
    width=64,
    depth=2,
    quantizer=dict(name="FSQ", levels=(8, 5, 5, 5)),
)

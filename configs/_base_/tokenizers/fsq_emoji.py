# 64 x 64 pixels as 8 x 8 codes, of which 2 x 2 make a token of 20 numbers: shared by the config that trains this
# tokenizer and those that use it. Convolutions at each resolution from the pixels to the codes draw clean flats.
_tokenizer = dict(
    type="QuantizedAutoencoder",
    size=(64, 64),
    stride=8,
    patch=2,
    width=(24, 48, 96, 128),
    encoder_width=(16, 32, 64, 96),
    depth=2,
    quantizer=dict(name="FSQ", levels=(8, 8, 8, 6, 5)),
    absolute=1.0,
)

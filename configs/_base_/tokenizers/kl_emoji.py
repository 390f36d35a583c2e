# 64 x 64 pixels as 8 x 8 continuous latents of 5 numbers, of which 2 x 2 make a token of 20: as fsq_emoji.py has them,
# but not rounded.
_tokenizer = dict(
    type="KLAutoencoder",
    size=(64, 64),
    stride=8,
    patch=2,
    latent_channels=5,
    width=(24, 48, 96, 128),
    encoder_width=(16, 32, 64, 96),
    depth=2,
    absolute=1.0,
    kl=1e-3,
)

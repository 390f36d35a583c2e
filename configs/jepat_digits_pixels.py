# A token for each pixel: 64 tokens, so that sampling steps draw several at once and the presets differ.
_base_ = ["./jepat_digits.py"]
model = dict(image_tokenizer=dict(patch=1))

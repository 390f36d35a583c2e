# Digits with a token for each pixel that learn guidance in, so that drawing has no null branch, drawn in few evaluations.
_base_ = ["./jepat_digits_pixels.py"]
model = dict(
    objectives=dict(flow=dict(learns_guidance=True)),
    sampler=dict(_delete_=True, preset="few", guidance_scale=1.75),
)

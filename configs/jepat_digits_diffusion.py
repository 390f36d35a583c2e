# jepat_digits.py with Gaussian diffusion in the place of flow matching; all else is shared.
_base_ = ["./jepat_digits.py"]
model = dict(
    objectives=dict(
        _delete_=True,
        diffusion=dict(type="GaussianDiffusion", head_width=128, head_depth=3, draws=4),
        feature=dict(type="FeaturePrediction", weight=1.0),
    ),
    sampler=dict(
        _delete_=True, type="MaskedSampler", steps=16, solver_steps=50, guidance_scale=1.75, guidance_schedule="linear"
    ),
)

# As adamw_constant.py, with the rate falling linearly to zero after the warm-up. A config with other max_iters
# sets the end of the second part with it.
_base_ = ["./adamw_constant.py"]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.0, by_epoch=False, begin=100, end=1000),
]

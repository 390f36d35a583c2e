# As adamw_constant.py, with the rate falling linearly to a hundredth over the last 30 % of the steps.
# A config with other max_iters sets the begin and end of the second part with it.
_base_ = ["./adamw_constant.py"]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.01, by_epoch=False, begin=700, end=1000),
]

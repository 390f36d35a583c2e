# As adamw_constant.py, with the rate falling linearly to zero from the end of the warm-up on.
_base_ = ["./adamw_constant.py"]
param_scheduler = dict(decay=0.9)

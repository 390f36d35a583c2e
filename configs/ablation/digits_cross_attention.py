_base_ = ["../jepat_digits.py"]
model = dict(fusion=dict(features=dict(type="CrossAttention")))  # one of jepa_t's three entrances alone

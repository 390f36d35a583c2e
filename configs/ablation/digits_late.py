_base_ = ["../jepat_digits.py"]
model = dict(fusion="late")

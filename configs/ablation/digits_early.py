_base_ = ["../jepat_digits.py"]
model = dict(fusion="early", encoder=dict(registers=16))  # a register for each text token

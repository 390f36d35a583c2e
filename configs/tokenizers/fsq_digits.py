# Inked digits as 16 ids each: the tokenizer that the discrete configs of the digits begin with. A minute on one core.
#   jepa-t train tokenizers/fsq_digits
#   jepa-t test tokenizers/fsq_digits
# The figures of the digits then say what survives of real, held-out images: <split>/all beside real/all.
_base_ = [
    "../_base_/tokenizers/fsq_digits.py",
    "../_base_/datasets/digits.py",
    "../_base_/schedules/adamw_linear.py",
    "../_base_/tokenizer_runtime.py",
]
model = dict(type="TokenizerTraining", tokenizer=_base_._tokenizer)
test_dataloader = dict(dataset=dict(splits=("seen", "unseen"), images=True))
test_evaluator = [dict(type="ReconstructionMetric"), dict(type="DigitsMetric", layout="single")]
train_cfg = dict(max_iters=1500)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = dict(warmup=1 / 30, decay=29 / 30)

# The tokenizer of jepat_own.py, trained on the same folder first:
#   jepa-t train tokenizers/fsq_own --cfg-options source=FOLDER
#   jepa-t test tokenizers/fsq_own --cfg-options source=FOLDER    # how well held-out images survive it
_base_ = [
    "../_base_/tokenizers/fsq_emoji.py",
    "../_base_/datasets/own.py",
    "../_base_/schedules/tokenizer.py",
]
model = dict(type="TokenizerTraining", tokenizer=dict(_base_._tokenizer, size=("$size", "$size")))
train_dataloader = dict(batch_size=16)
test_dataloader = dict(dataset=dict(images=True))
test_evaluator = [dict(type="ReconstructionMetric"), _base_.test_evaluator]

# ImageNet 256 x 256 in the paper's setting, base: 1,400 epochs. docs/training.md says how to run it.
# Not yet run: this project has no ImageNet. A test runs the whole way with a small data set in the same formats.
_base_ = [
    "./_base_/models/jepat_base.py",
    "./_base_/datasets/imagenet.py",
    "./_base_/datasets/imagenet_evaluation.py",
    "./_base_/schedules/imagenet.py",
]
train_cfg = dict(max_iters=round(1400 * _base_._epoch))

# ImageNet 256 x 256 in the paper's setting, large: 480 epochs.
_base_ = [
    "./_base_/models/jepat_large.py",
    "./_base_/datasets/imagenet.py",
    "./_base_/datasets/imagenet_evaluation.py",
    "./_base_/schedules/imagenet.py",
]
train_cfg = dict(max_iters=round(480 * _base_._epoch))

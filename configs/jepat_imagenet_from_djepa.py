# JEPA-T on D-JEPA's backbone, base: the text learns to steer a trained image model. docs/checkpoints.md tells how to
# convert one and what it was seen with. The backbone stays as it is; model.frozen=() trains it along.
# Not yet run; the number of steps is a guess.
_base_ = ["./jepat_imagenet.py"]
load_from = "checkpoints/djepa_base_backbone.pth"
model = dict(encoder=dict(norm_at="sequence"), frozen=("encoder", "predictor"))
train_cfg = dict(max_iters=round(100 * _base_._epoch))
param_scheduler = dict(warmup=0.05)

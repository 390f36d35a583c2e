# The first and longer part of the training of jepat_emoji.py: more early times, when the caption decides.
# It needs the tokenizer: jepa-t train tokenizers/fsq_emoji
_base_ = ["./jepat_emoji.py"]
model = dict(objectives=dict(flow=dict(logit_normal=(-0.8, 0.8))))
load_from = None
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_iters=20000)

# jepat_emoji.py made small, to compare many trainings on a machine of two cores: a quarter of the roles, 32 pixels as
# four tokens in the basis of their principal components, a narrow network. No tokenizer has to be trained before it.
_base_ = ["../_base_/models/jepat_emoji.py", "../_base_/datasets/emoji.py", "../_base_/schedules/small.py"]
_share = 0.25  # of the roles: training shows 790 emoji
_pixels = 32
model = dict(
    width=96,
    image_tokenizer=dict(type="PatchTokenizer", size=(_pixels, _pixels), patch=16, channels=64),
    text_tokenizer=dict(depth=1, length=16, vocabulary=800, dropout=0.0),
    encoder=dict(depth=2),
    predictor=dict(depth=2),
    mask_ratio=dict(low=0.2, std=0.5),
    objectives=dict(flow=dict(head_width=128, head_depth=2, draws=2)),
)
train_dataloader = dict(dataset=dict(share=_share, pixels=_pixels, size=16000, again=1))
test_dataloader = dict(dataset=dict(share=_share, pixels=_pixels))
test_evaluator = dict(share=_share, pixels=_pixels)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
default_hooks = dict(ema=dict(decay=0.995))
train_cfg = dict(max_iters=3000)

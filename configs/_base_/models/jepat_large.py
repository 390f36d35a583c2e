_base_ = ["./jepat_base.py"]
model = dict(
    width=1024,
    encoder=dict(depth=24, heads=16),
    predictor=dict(depth=24, heads=16),
    objectives=dict(flow=dict(head_width=1280, head_depth=8), feature=dict(hidden_width=4 * 1024)),
)

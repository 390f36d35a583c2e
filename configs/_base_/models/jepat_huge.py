_base_ = ["./jepat_base.py"]
model = dict(
    width=1280,
    encoder=dict(depth=32, heads=16),
    predictor=dict(depth=32, heads=16),
    objectives=dict(flow=dict(head_width=1536, head_depth=12), feature=dict(hidden_width=4 * 1280)),
)

# A network for images of a few tokens, which trains on a CPU in minutes. A config sets the image tokenizer.
model = dict(
    type="JEPAT",
    width=64,
    text_tokenizer=dict(type="TransformerText", width=64, depth=2, heads=4, length=16, vocabulary=64),
    encoder=dict(type="ContextEncoder", depth=2, heads=4, registers=4),
    predictor=dict(type="Predictor", depth=2, heads=4),
    objectives=dict(
        flow=dict(type="FlowMatching", head_width=96, head_depth=2, draws=4),
        feature=dict(type="FeaturePrediction", weight=1.0),
    ),
    mask_ratio=dict(low=0.3, std=0.5),
    text_drop=0.1,
)

# A network for images of 16 to 64 tokens, four million weights. A config sets the image tokenizer.
model = dict(
    type="JEPAT",
    width=160,
    text_tokenizer=dict(type="TransformerText", width=96, depth=2, heads=4, length=24, vocabulary=2304),
    encoder=dict(type="ContextEncoder", depth=3, heads=4, registers=4, dropout=0.05),
    predictor=dict(type="Predictor", depth=4, heads=4, dropout=0.05),
    objectives=dict(
        flow=dict(type="FlowMatching", head_width=192, head_depth=3, draws=4),
        feature=dict(type="FeaturePrediction", weight=1.0),
    ),
    mask_ratio=dict(low=0.2, std=0.5),
    text_drop=0.1,
    sampler=dict(type="MaskedSampler", steps=4, guidance_scale=1.5, draw=dict(solver="euler", solver_steps=4)),
)

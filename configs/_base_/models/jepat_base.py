# JEPA-T base: 256 x 256 pixels as 16 x 16 latents of KL-16, captions read by CLIP. jepat_large.py and jepat_huge.py
# change sizes alone; docs/training.md counts the parameters.
model = dict(
    type="JEPAT",
    width=768,
    image_tokenizer=dict(type="KLTokenizer", source="xwen99/mar-vae-kl16", size=(256, 256), scale=0.2325),
    text_tokenizer=dict(type="OpenCLIPText", model="ViT-B-32-quickgelu", pretrained="openai"),
    encoder=dict(type="ContextEncoder", depth=12, heads=12, registers=64, dropout=0.1),
    predictor=dict(type="Predictor", depth=12, heads=12, dropout=0.1),
    fusion=dict(  # the preset jepa_t, with eight heads
        predictor=dict(type="Add"),
        features=dict(type="CrossAttention", heads=8),
        objective=dict(type="Concat"),
    ),
    objectives=dict(
        flow=dict(type="FlowMatching", head_width=1024, head_depth=6, draws=4),
        feature=dict(type="FeaturePrediction", weight=1.0, hidden_width=4 * 768),
    ),
    mask_ratio=dict(low=0.7, std=0.25, multiple=8),  # the mean stays; few lengths suit kernels and compilation
    text_drop=0.1,
    sampler=dict(  # the paper's arithmetic (the preset "reference"), one of its settings
        type="MaskedSampler",
        steps=64,
        draw=dict(solver="euler", solver_steps=99),
        guidance_scale=3.0,
        guidance_schedule="linear",
    ),
)

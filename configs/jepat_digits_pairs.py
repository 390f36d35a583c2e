_base_ = ["./jepat_digits.py"]
model = dict(
    image_tokenizer=dict(size=(8, 16), patch=4),
    mask_ratio=dict(low=0.1, std=10.0),
    sampler=dict(steps=8, guidance_scale=2.0, guidance_schedule="constant"),
)
train_dataloader = dict(dataset=dict(layout="pairs"))
test_dataloader = dict(dataset=dict(layout="pairs", splits=("seen", "unseen", "paraphrase", "swap")))
test_evaluator = dict(layout="pairs")
custom_hooks = [
    dict(
        type="PreviewHook",
        interval=500,
        captions=["a red three left of a blue five", "a green one right of a yellow eight on black paper"],
    )
]

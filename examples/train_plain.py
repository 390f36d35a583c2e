"""Train the digits in a loop of one's own, from objects: python examples/train_plain.py [STEPS] [FOLDER]"""

import sys
from pathlib import Path

import torch

from jepa_t import JEPAT, ContextEncoder, FeaturePrediction, FlowMatching, PatchTokenizer, Pipeline, Predictor
from jepa_t.tokenizers import TransformerText
from jepa_t.worlds.digits import InkedDigits

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1600
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "samples")
torch.manual_seed(0)
torch.set_num_threads(1)  # a network this small gains nothing from more

data = InkedDigits(size=24000)
pixels = PatchTokenizer(size=(8, 8), patch=2, whiten=True)
tokens, channels, width = 16, pixels.channels, 64
model = JEPAT(
    image_tokenizer=pixels,
    text_tokenizer=TransformerText(width, vocabulary=64),
    encoder=ContextEncoder(channels, tokens, width, depth=2, heads=4, registers=4),
    predictor=Predictor(tokens, width, depth=2, heads=4),
    objectives={
        "flow": FlowMatching(channels, width, head_width=96, head_depth=2),
        "feature": FeaturePrediction(width),
    },
    width=width,
    mask_ratio={"low": 0.05, "std": 0.6},
    sampler={"preset": "fast", "guidance_scale": 1.75},
)
model.fit(data.images, data.captions)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], betas=(0.9, 0.95), weight_decay=0.02)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)

for step in range(steps):
    rows = torch.randint(len(data), (64,))
    loss = sum(model.loss(data.images[rows], [data.captions[row] for row in rows]).values())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
    optimizer.step()
    schedule.step()
    model.update_ema(decay=min(0.998, (1 + step) / (10 + step)))
    if step % 100 == 0:
        print(step, round(loss.item(), 3))

drawing = Pipeline(model)(["a red three on white paper", "a blue seven"], seeds=[0, 1])
folder.mkdir(parents=True, exist_ok=True)
for image, caption in zip(drawing.images, drawing.captions, strict=True):
    image.resize((128, 128), resample=0).save(folder / f"{caption.replace(' ', '_')}.png")

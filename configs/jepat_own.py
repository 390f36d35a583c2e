# Images of one's own from text: a captioned folder at 32 or 64 pixels, no GPU, no download.
#   jepa-t train tokenizers/fsq_own --cfg-options source=FOLDER
#   jepa-t train jepat_own --cfg-options source=FOLDER
#   jepa-t test jepat_own --cfg-options source=FOLDER             # held-out captions, by retrieval
#   jepa-t sample work_dirs/jepat_own "a caption of yours"
_base_ = [
    "./_base_/models/jepat_small.py",
    "./_base_/tokenizers/fsq_emoji.py",
    "./_base_/datasets/own.py",
    "./_base_/schedules/small.py",
]
model = dict(
    image_tokenizer=dict(_base_._tokenizer, size=("$size", "$size"), checkpoint="work_dirs/fsq_own"),
    text_tokenizer=dict(length=32, vocabulary=4096),  # byte pairs; the most frequent of the captions are kept
)

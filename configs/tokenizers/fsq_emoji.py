# Emoji as 16 tokens of four codes each: the tokenizer that jepat_emoji.py begins with.
#   python tools/train.py configs/tokenizers/fsq_emoji.py
#   python tools/test.py configs/tokenizers/fsq_emoji.py
_base_ = [
    "../_base_/tokenizers/fsq_emoji.py",
    "../_base_/datasets/emoji.py",
    "../_base_/schedules/adamw_linear.py",
    "../_base_/default_runtime.py",
]
model = dict(type="TokenizerTraining", tokenizer=_base_._tokenizer)
train_dataloader = dict(batch_size=16)
test_dataloader = dict(dataset=dict(splits=("seen", "unseen_tone", "unseen_gender"), images=True))
test_evaluator = [dict(type="ReconstructionMetric"), dict(type="EmojiMetric")]
train_cfg = dict(max_iters=9000)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=1.0), precision="bf16")
param_scheduler = dict(warmup=0.02, decay=0.98)
default_hooks = dict(
    _delete_=True,  # no average is kept, and nothing but the tokenizer itself is fitted
    runtime_info=dict(type="MeanLossHook"),
    timer=dict(type="SpeedHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="SafeCheckpointHook", interval=500, max_keep_ckpts=2),
    progress=dict(type="ProgressHook"),
    interrupt=dict(type="InterruptHook"),
)

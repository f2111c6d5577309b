"""What Keras, timm, Ultralytics, fastai and others call the settings, so that a message can name ours."""

from __future__ import annotations

from collections.abc import Collection

# Ours, with the value where the other word implies one, and what others write for it.
_WORDS = {
    "lr": "learning_rate lr0 base_lr max_lr eta",
    "size": "imgsz img_size image_size img input_size resolution target_size",
    "batch": "batch_size bs b train_batch_size per_device_train_batch_size",
    "epochs": "epoch e num_epochs n_epochs nepochs num_train_epochs iterations",
    "workers": "num_workers j loader_workers",
    "validation_share": "val_split validation_split valid_pct val_size test_size valid_ratio val_ratio",
    "patience": "early_stopping early_stop early_stopping_patience",
    "balance=sampling": "class_weights class_weight weighted_sampler oversample balanced cls_pw",
    "weights=imagenet": "pretrained transfer_learning",
    "weights=none": "no_pretrained from_scratch scratch",
    "weights": "checkpoint ckpt initial_checkpoint finetune pretrained_path load",
    "freeze": "fine_tune_at freeze_layers frozen unfreeze freeze_until include_top",
    "augment": "augmentation augmentations data_augmentation aug aa auto_augment item_tfms batch_tfms transforms",
    "model": "arch architecture backbone net network model_name a base_model",
    "width": "alpha width_mult depth_multiplier width_multiplier",
    "optimizer": "optimiser opt solver optim",
    "weight_decay": "wd l2",
    "label_smoothing": "smoothing ls",
    "schedule": "scheduler sched lr_scheduler lr_schedule cos_lr",
    "warmup": "warmup_epochs",
    "seed": "random_state random_seed",
    "folds": "kfold k_fold k_folds cv cross_validate n_splits",
    "minutes": "time max_time time_limit budget",
    "precision=float16": "fp16 half amp mixed_precision",
    "precision=bfloat16": "bf16",
    "device=cpu": "cpu no_cuda",
    "device=cuda": "gpu gpus cuda use_gpu",
    "dropout": "drop drop_rate",
    "ema": "model_ema",
    "accumulate": "grad_accum grad_accum_steps gradient_accumulation_steps nbs",
    "clip": "clip_grad grad_clip max_grad_norm clipnorm",
    "out": "o output output_dir out_dir save_dir project log_dir run_name export_dir logdir dest outfile",
    "resume": "resume_from continue",
    # Of other verbs than train.
    "top": "topk top_k k",
    "int8": "quantize quantise quant quantized i8",
    "float16": "fp16 half",
    "threshold": "conf confidence conf_thres min_confidence score_threshold",
    "explain": "gradcam cam heatmap saliency",
    "format": "include to target",
}
_OURS: dict[str, list[str]] = {}
for _ours, _theirs in _WORDS.items():
    for _word in _theirs.split():
        _OURS.setdefault(_word, []).append(_ours)


def ours(word: str, known: Collection[str]) -> tuple[str, str] | None:
    """Give what stands for another tool's word among the ``known`` names, and the value that it implies, or ''."""
    for found in _OURS.get(word.lstrip("-").lower().replace("-", "_"), ()):
        name, _, value = found.partition("=")
        if name in known:
            return name, value
    return None

"""Stage `finetune`: the selection beside its rivals."""

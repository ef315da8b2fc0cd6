"""Folders of models, as transformers and peft write them."""

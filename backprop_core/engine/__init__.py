"""Training itself: the only package that imports torch, transformers, peft and trl."""

"""Training data: readers, formats, chat templates, loss masks, reports. Never imports torch or transformers."""

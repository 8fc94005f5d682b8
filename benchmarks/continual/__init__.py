"""How much continual merging forgets, measured on short tasks of a small model."""

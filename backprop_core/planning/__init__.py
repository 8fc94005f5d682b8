"""What a run will need and what is derived for it, before it starts: pure arithmetic, no torch, no I/O."""

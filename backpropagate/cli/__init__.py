"""The `backprop` command: one small file per group; every body imports what it needs when it runs."""

"""Real processes at the price of a fork: scheduler, workers and a follower that can be killed at any moment.

Real are the store, the launcher, the scheduler, the worker's entry, lock, slot, journal, control file,
checkpoint writer and signals. Not real is the training: a recipe of plain Python takes the place of torch.
"""

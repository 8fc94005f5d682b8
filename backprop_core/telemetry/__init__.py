"""Figures of the machine: card, processor, memory. Reads only; never sets a clock or a power limit."""

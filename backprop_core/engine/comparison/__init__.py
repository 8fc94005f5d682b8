"""Whether a tune helped: base and tuned model on the same held-out rows.

Rows, scores and replies need torch; intervals and the verdict are plain arithmetic.
"""

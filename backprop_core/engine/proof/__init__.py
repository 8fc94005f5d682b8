"""The ship proof: whether an exported file answers as the trained model does.

The exported file runs in an engine of its own process; the trained model runs in torch. What is
compared is everything a user meets: tokens, prompt, certainty of each answer token, end of the reply.
"""

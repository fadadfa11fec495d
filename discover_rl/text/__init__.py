"""The text side: the same selector chooses which tasks a language model practises.

Start to goal is a Gaussian posterior over pass rates, learnt from attempts. Goal to target is a proxy, not a learned
value: how similar a task is to the targets in the model's own representation, see ``belief``.
"""

"""Unstuck: models and instruments for finding out why a neural network does not train.

Importing this package imports nothing else: use its modules, `from unstuck.probes import watch`.
"""

__version__ = "0.1.0"

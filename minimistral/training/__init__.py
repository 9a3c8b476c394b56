"""Training by hand: one backward function beside each forward piece, a packed batch, the optimiser and the loop.

Plain NumPy and no autograd: start with `linear`, then `model`, which strings the pieces together both ways.
"""

"""Conformance vectors: small models, tokens and right answers that an implementation in any language can be held to.

suite       what is in it, as data
in_order    float64 with the same bits on every machine, for the traces
budgets     how far right answers may be off in each number format
write       the suite as files
score       someone's results against it
planted     results with a known mistake in them
"""

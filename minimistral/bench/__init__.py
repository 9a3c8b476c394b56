"""How fast a model is here, beside what the machine can do and beside another program, measured in one run.

cases      what is run: the settings, and the tokens
sides      what is measured: a backend and an arithmetic, behind two calls
peer       the same two calls for the same weights in transformers
measure    the clock around the calls, side by side, repeat by repeat
machine    what this machine is, and how fast it reads, copies and multiplies
report     rates, ratios and shares from the times: plain data, written as JSON
figure     the report as a picture
run        all of it in order

docs/bench.md tells how to run and read it. The command line draws the tables (minimistral/cli/bench.py).
"""

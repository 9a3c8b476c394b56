"""What the window remembers: how far a fact travels through layers of windows, in models trained to carry it.

task     texts with facts and questions at known distances
models   the models of the study: trained, and asked
figure   the picture
python -m minimistral.window_memory runs it; docs/window_memory.md tells what was found.
"""

"""Doctests of these modules need numba-cuda: pytest leaves them out where it is not installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("numba_cuda") else ["[!c]*.py", "compile.py"]

"""Does a backend give the reference's bits? Random models, texts and ways to run them, compared bit by bit.

    python -m fastpath verify --backend cpu

    >>> from minimistral import Mistral
    >>> from fastpath.verify import verify
    >>> report = verify(lambda model: Mistral(model.config, model.weights, model.arithmetic), cases=1)  # a copy
    >>> report.cases, report.differences
    (1, [])

values   weights that are hard: outliers, equal rows, zeros, subnormals, powers of two, overflow
cases    case number k of a seed: a model, texts, and ways to run them
runs     one case on both sides
compare  two arrays
report   many cases, the count, and what is written down
"""

from fastpath.verify.report import Report, as_json, candidates, verify

__all__ = ["Report", "as_json", "candidates", "verify"]

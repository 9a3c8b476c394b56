"""Checking another implementation: not "they differ", but which line is wrong, and how.

from minimistral.check import check_trace

report = check_trace("run.safetensors", "mistral-folder")
report.agrees, report.first_difference, report.findings
"""

from minimistral.check.report import Report, check_trace
from minimistral.check.testing import assert_agrees

__all__ = ["Report", "assert_agrees", "check_trace"]

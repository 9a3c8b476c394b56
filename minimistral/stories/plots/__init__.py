"""All plots: every module of this folder has a list PLOTS; taken in the order of the modules' names."""

from importlib import import_module
from pkgutil import iter_modules

_MODULES = [import_module(f"{__name__}.{name}") for name in sorted(module.name for module in iter_modules(__path__))]
PLOTS = [plot for module in _MODULES for plot in getattr(module, "PLOTS", [])]

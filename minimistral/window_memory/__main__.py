"""python -m minimistral.window_memory --output DIR [--small]: train the models, ask them, draw what was found."""

import os
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the models are small, and are trained side by side

from minimistral.window_memory.command import main

if __name__ == "__main__":
    sys.exit(main())

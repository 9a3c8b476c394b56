"""From a narrow float to a wider one: always exact."""

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT32 = np.dtype(np.float32)


def widen(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x in `dtype`, no copy where it is that already.

    >>> widen(np.array([1.5, -2.0], BFLOAT16), FLOAT32)
    array([ 1.5, -2. ], dtype=float32)
    """
    if x.dtype == BFLOAT16 and dtype != BFLOAT16:
        # A bfloat16 is the upper half of a float32: a shift, several times faster than the general conversion.
        x = (np.ascontiguousarray(x).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return x.astype(dtype, copy=False)

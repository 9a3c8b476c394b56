"""Every piece, forward and backward, in plain NumPy: what `model` is handed, and what a faster module offers too."""

from minimistral.training.adamw import adamw
from minimistral.training.attention import attention, attention_backward
from minimistral.training.cross_entropy import cross_entropy, cross_entropy_backward
from minimistral.training.embedding import embedding, embedding_backward
from minimistral.training.linear import linear, linear_backward
from minimistral.training.rms_norm import rms_norm, rms_norm_backward
from minimistral.training.rope import rope, rope_backward, rope_table
from minimistral.training.swiglu import swiglu, swiglu_backward

__all__ = [
    "adamw",
    "attention",
    "attention_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "embedding",
    "embedding_backward",
    "linear",
    "linear_backward",
    "rms_norm",
    "rms_norm_backward",
    "rope",
    "rope_backward",
    "rope_table",
    "swiglu",
    "swiglu_backward",
]

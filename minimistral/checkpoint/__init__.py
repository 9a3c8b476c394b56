"""Checkpoints as people have them: a Mistral folder or a Hugging Face folder, mapped into memory, checked first.

files          opening what may be anything
tensor_file    the safetensors format, read and written
layouts        two sets of names, two orders of rows
config_file    params.json and config.json
inspect        config and tensors against each other
load           weights on demand, within a memory budget
convert        writing, from either layout to either
random_checkpoint   random weights of any size, block by block
"""

from minimistral.checkpoint.convert import convert, write_checkpoint
from minimistral.checkpoint.inspect import Checkpoint, open_checkpoint
from minimistral.checkpoint.load import load_weights

__all__ = ["Checkpoint", "convert", "load_weights", "open_checkpoint", "write_checkpoint"]

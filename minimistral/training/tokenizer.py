"""A tokenizer for new data: sentencepiece BPE with byte fallback, in the manner of Mistral's."""

import io
import re
from collections.abc import Iterable

from minimistral.errors import BadInput

CONTROL = ("[INST]", "[/INST]")  # ids 3 and 4, after unk 0, bos 1, eos 2: what a chat by template v0.3 needs
FEWEST = 3 + len(CONTROL) + 256 + 1  # the special pieces, a piece for each byte, and something to learn
BLOCK = 4000  # characters handed over at once; sentencepiece passes over what it finds too long


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """A sentencepiece model (the bytes of its file) with exactly `vocab_size` pieces.

    The text "[INST]" is never encoded as the control piece: a user cannot write one. BadInput where the texts have
    too little variety for so many pieces, or vocab_size is too small for the bytes and for all that they contain.
    """
    from sentencepiece import SentencePieceTrainer

    if vocab_size < FEWEST:
        raise BadInput(f"tokenizer: vocab_size {vocab_size}, expected at least {FEWEST}: every byte has a piece")
    model = io.BytesIO()
    blocks = (text[n : n + BLOCK] for text in texts for n in range(0, len(text), BLOCK))
    try:
        SentencePieceTrainer.train(
            sentence_iterator=blocks, model_writer=model, vocab_size=vocab_size, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
            split_digits=True, character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
            control_symbols=list(CONTROL), num_threads=1, minloglevel=2, max_sentence_length=100_000,
        )  # fmt: skip
    except RuntimeError as error:
        raise BadInput(_why(str(error), vocab_size)) from None
    return model.getvalue()


def _why(message: str, vocab_size: int) -> str:
    """sentencepiece's message, which names lines of its source, as one for the user."""
    most = re.search(r"set it to a value <= (\d+)", message)
    if most:
        return f"tokenizer: the data have pieces for a vocabulary of at most {most[1]}, expected {vocab_size}"
    if "smaller than required_chars" in message:
        return f"tokenizer: the data have more different characters than a vocabulary of {vocab_size} has room for"
    return f"tokenizer: cannot be trained on these data: {' '.join(message.split())}"

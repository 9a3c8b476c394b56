"""Text to token ids and back, with the sentencepiece model that lies beside the weights.

Text comes out of bytes: a piece gives the bytes of its characters, a byte piece (<0xF0>) one byte, a control token
none. `decode` and the stream are the same path, so they cannot differ, and no half character is ever given out.
"""

import codecs
import re
from pathlib import Path

from minimistral.checkpoint.files import read_plain, shown
from minimistral.errors import BadInput

LIMIT = 64 * 2**20  # bytes; Mistral's has half a MB
NAME = re.compile(r"tokenizer\.model(?:\.v(\d+)\w*)?")
SPACE = "\u2581"  # sentencepiece's mark for a space
WHERE_FOUND = "it is published with the weights (Mistral-7B-v0.1: tokenizer.model; v0.3: tokenizer.model.v3)"


class Tokenizer:
    """A sentencepiece model. BadInput if the file is none.

    bos_id, eos_id: the ids that begin and end a text, -1 where the model has none; vocab_size: ids are below it.
    """

    def __init__(self, path: str | Path):
        from sentencepiece import SentencePieceProcessor

        self._where = shown(path)
        data = read_plain(Path(path), LIMIT)
        self._model = SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(data)
            self.vocab_size: int = self._model.vocab_size()
            self._drops_space = self._drops_leading_space()
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            raise BadInput(f"{self._where}: not a sentencepiece model: {shown(error)}") from None
        if self.vocab_size < 1:
            raise BadInput(f"{self._where}: not a sentencepiece model: {len(data)} bytes, no pieces")
        self.bos_id: int = self._model.bos_id()
        self.eos_id: int = self._model.eos_id()

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """The ids of a text, BOS first unless `bos` is False. BadInput for text that is not valid Unicode."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"text: character {error.start} is half a surrogate pair, expected valid Unicode") from None
        start = [self.bos_id] if bos and self.bos_id >= 0 else []
        return start + self._model.encode(text)

    def decode(self, ids) -> str:
        """The text of some ids: without control tokens, and without the one space that sentencepiece puts in front."""
        stream = self.stream()
        return "".join([stream.push(i) for i in ids]) + stream.finish()

    def stream(self) -> "Stream":
        """A decoder that takes an id at a time."""
        return Stream(self)

    def piece_bytes(self, token: int) -> bytes:
        """The bytes that an id stands for. BadInput for an id that the vocabulary does not have."""
        if not 0 <= token < self.vocab_size:
            raise BadInput(f"token {token}: expected an id from 0 to {self.vocab_size - 1}")
        token = int(token)
        if self._model.IsControl(token):
            return b""
        try:
            if self._model.IsUnknown(token):
                return self._model.decode([token]).encode()
            piece = self._model.IdToPiece(token)
            return bytes([int(piece[3:5], 16)]) if self._model.IsByte(token) else piece.replace(SPACE, " ").encode()
        except ValueError:
            raise BadInput(f"{self._where}: piece {token} is damaged: neither text nor a byte") from None

    def control_id(self, piece: str) -> int | None:
        """The id of a control piece such as [INST], which no text ever becomes; None if the model has none of that name."""
        token = self._model.PieceToId(piece)
        return token if self._model.IdToPiece(token) == piece and self._model.IsControl(token) else None

    def begins_with_space(self, token: int) -> bool:
        """Whether this id, first in a text, loses the space that it begins with."""
        return self._drops_space and self._model.IdToPiece(int(token)).startswith(SPACE)

    def _drops_leading_space(self) -> bool:
        """Whether this model puts a space before every text, and so takes one away (asked, for want of a getter)."""
        pieces = (i for i in range(self.vocab_size) if self._model.IdToPiece(i).startswith(SPACE))
        first = next(pieces, None)
        return first is not None and not self._model.decode([first]).startswith(" ")


class Stream:
    """Decoding as ids arrive: push gives the text that is certain, finish the rest (a broken character as U+FFFD)."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = True

    def push(self, token: int) -> str:
        """The characters that this id completes, perhaps none."""
        data = self._tokenizer.piece_bytes(token)
        if data and self._at_start:
            self._at_start = False
            data = data[1:] if self._tokenizer.begins_with_space(token) else data
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What remains at the end."""
        return self._decoder.decode(b"", final=True)


def find_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder: tokenizer.model, or of the .v1, .v2, .v3 names the latest.

    BadInput if the folder has none: what is missing, and where it is found.
    """
    folder = Path(folder)
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise BadInput(f"{shown(folder)}: cannot be read: {shown(error.strerror)}") from None
    versions = {name: match[1] for name in names if (match := NAME.fullmatch(name))}
    if versions:
        return Tokenizer(
            folder / max(versions, key=lambda name: (versions[name] is None, int(versions[name] or 0), name))
        )
    other = next((name for name in ("tekken.json", "tokenizer.json") if name in names), None)
    has = f"has only {other}, which is another kind of tokenizer" if other else "has no tokenizer"
    raise BadInput(f"{shown(folder)}: {has}: expected sentencepiece's tokenizer.model; {WHERE_FOUND}")

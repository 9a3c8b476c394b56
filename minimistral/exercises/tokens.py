"""Lesson 01: any text survives ids and back, but for one character."""

from minimistral.exercises.exercise import Exercise, Guess

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def stream_decode(pieces):
    texts, held = [], b""  # held: the bytes of a character that is not complete
    for n, piece in enumerate(pieces):
        held += piece[1:] if n == 0 else piece
        try:
            texts.append(held.decode())
            held = b""
        except UnicodeDecodeError:
            texts.append("")
    return texts


def without_first_space(pieces):
    return [pieces[0][1:], *pieces[1:]]


def each_alone(pieces):
    return [piece.decode(errors="replace") for piece in without_first_space(pieces)]


def stops_at_half_a_character(pieces):
    return [piece.decode() for piece in without_first_space(pieces)]


def broken_ones_dropped(pieces):
    return [piece.decode(errors="ignore") for piece in without_first_space(pieces)]


def a_character_for_each_byte(pieces):
    return [piece.decode("latin-1") for piece in without_first_space(pieces)]


def without_any_space(pieces):
    return [text.strip() for text in stream_decode(pieces)]


def with_first_space(pieces):
    return stream_decode([b" " + pieces[0], *pieces[1:]])


def all_at_the_end(pieces):
    return [""] * (len(pieces) - 1) + ["".join(stream_decode(pieces))]


def pieces_of_a_text(rng):
    """Bytes of pieces: words, ends of words, and single bytes of characters that take two, three and four."""
    words = ["".join(rng.choice(list(LETTERS), n)) for n in rng.permutation([2, 3, 4, 5])]
    characters = [0xE0 + rng.integers(20), 0xAC00 + rng.integers(11172), 0x1F400 + rng.integers(64)]
    blocks = [[f" {words[1]}".encode()], [f" {words[2]}".encode()], [words[3].encode()]]
    blocks += [[bytes([byte]) for byte in chr(character).encode()] for character in characters]
    order = rng.permutation(len(blocks))
    return ([f" {words[0]}".encode(), *(piece for n in order for piece in blocks[n])],)


EXERCISES = [
    Exercise(
        "stream-decode",
        "Which text can be printed after each piece, so that no half character is ever given out?",
        stream_decode,
        wrong={
            "each-alone": (each_alone, "a letter may be three ids: one alone cannot be read"),
            "stops-at-half": (
                stops_at_half_a_character,
                "half a character cannot be read: hold it, and go on to the next",
            ),
            "broken-ones-dropped": (broken_ones_dropped, "these bytes are lost: what would complete them comes later"),
            "a-character-for-each-byte": (
                a_character_for_each_byte,
                "a byte is not a character: which belong together?",
            ),
            "strip": (without_any_space, "the mark is a space: only the one in front of the whole text was added"),
            "first-space-kept": (with_first_space, "the encoder put a space in front of the text: who takes it away?"),
            "all-at-the-end": (all_at_the_end, "the reader waits: give a character as soon as it is complete"),
        },
        make_inputs=pieces_of_a_text,
    ),
]

GUESSES = {
    "ids-of-four-words": Guess(
        'how many ids encode("Once upon a time") gives',
        5,
        [
            (4, "a piece for each word, and which one in front of all?"),
            (8, "a space is no piece of its own here: it belongs to the word behind it"),
            (16, "so many letters and spaces: a piece may be a whole word"),
            (17, "so many letters and spaces: a piece may be a whole word"),
        ],
    ),
    "first-merge": Guess(
        "which pair of letters is merged first in 'banana bandana'",
        "an",
        [("na", "it is there three times: is another there more often?"), ("ba", "it is there twice")],
    ),
    "ids-of-two-syllables": Guess(
        "how many ids two Korean syllables give, BOS and the first mark included",
        8,
        [
            (6, "so many bytes: and what stands in front of every text?"),
            (7, "BOS, the mark, and how many bytes for a syllable?"),
            (4, "that is one id for a syllable: has this vocabulary a piece for it?"),
        ],
    ),
    "lost-characters": Guess(
        "how many characters of Unicode do not come back from their ids",
        1,
        [
            (0, "nearly: but one character has another job here"),
            (256, "all bytes have a piece"),
        ],
    ),
    "ids-come-back": Guess(
        "whether ids to text to ids always gives the same ids, True or False",
        False,
        [
            (True, "can one text be spelled with other pieces?"),
            ("True", "without quotation marks: True or False"),
            ("False", "without quotation marks: True or False"),
        ],
    ),
}

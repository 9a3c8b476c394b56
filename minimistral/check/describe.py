"""What can be said of a fault that no known mistake explains: where it is wrong, and what it looks like.

Pure functions of two arrays: what was recorded and what it should be. A sentence is said only if it holds for every
row that is wrong, to within the row's budget.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from minimistral.check.compare import SAFETY, length
from minimistral.config import Config

LEFT = 0.1  # of the error's square may remain, or a sentence does not explain it
ENOUGH = 3  # of rows or numbers: so many may agree by chance
MANY = 8  # wrong rows before channels can be told from each other by their values
LARGE = 3e7  # numbers; of more, the channels that are wrong are not looked for
SOME, TURNS = 64, 50  # rows, and turns, of finding rows' and channels' numbers from each other
NO_PATTERN = "The error "  # how `growth` and `size` begin
WIDE = 4096  # more channels or positions are not matched with each other: the table of all pairs grows too large


@dataclass(frozen=True)
class Fault:
    """recorded, right: (T, heads, n); budget, wrong: (T, heads). at: the position of each row (T,).

    channels: those of the last axis that are looked at.
    """

    recorded: np.ndarray
    right: np.ndarray
    budget: np.ndarray
    wrong: np.ndarray
    at: np.ndarray
    channels: np.ndarray
    window: int | None
    config: Config | None

    @property
    def positions(self) -> np.ndarray:
        """The wrong ones, by their rows."""
        return np.flatnonzero(self.wrong.any(axis=1))

    @property
    def heads(self) -> np.ndarray:
        """The wrong ones."""
        return np.flatnonzero(self.wrong.any(axis=0))

    @cached_property
    def there(self) -> tuple[np.ndarray, np.ndarray]:
        """Recorded and right, the wrong rows and channels only: (rows, channels) each."""
        return self.recorded[self.wrong][:, self.channels], self.right[self.wrong][:, self.channels]

    def is_(self, guess: np.ndarray) -> bool:
        """Is this (rows, channels) what was recorded in the wrong rows, and better than what is right?"""
        recorded, right = self.there
        if not self.row_is(slice(0, 1), guess):  # most guesses end here
            return False
        off = float(np.sum((recorded - guess) ** 2))
        size = min(np.sum((recorded - right) ** 2), np.sum(recorded**2))  # what is recorded may be nothing but noise
        return off <= LEFT * size and self.row_is(slice(None), guess)

    def row_is(self, rows: slice, guess: np.ndarray) -> bool:
        recorded, right = (x[rows] for x in self.there)
        larger = length(guess[rows]) / np.maximum(length(right), np.finfo(float).tiny)  # rounds more
        off = length(recorded - guess[rows])
        return bool((off <= self.budget[self.wrong][rows] * np.maximum(larger, 1)).all())


def describe(
    recorded: np.ndarray,
    right: np.ndarray,
    budget_rows: np.ndarray,
    window: int | None = None,
    config: Config | None = None,
    others: Iterable[tuple[str, np.ndarray]] = (),
    positions: np.ndarray | None = None,
) -> list[str]:
    """Sentences about a stage that is wrong, what it looks like first and then where; none if no row is.

    recorded, right: (T, n) or (T, heads, n). budget_rows: how far each row may be off, (T,) or (T, heads).
    others: what it would be in other ways, each with its name: ("the weights of layer 1", array).
    positions: of the rows, if they are not 0, 1, 2, ...

    >>> right = np.arange(1.0, 13).reshape(4, 3)
    >>> describe(np.where(np.arange(4)[:, None] == 2, 0, right), right, np.full(4, 1e-6))
    ['Every wrong row is 0.', 'Only position 2 is wrong, of 4.']
    """
    fault = made(recorded, right, budget_rows, window, config)
    if positions is not None:
        fault = replace(fault, at=np.asarray(positions))
    if not fault.wrong.any():
        return []
    if said := not_finite(fault):
        return [said, *where(fault)]
    fault = replace(fault, channels=wrong_channels(fault))
    named = (f"It is what {name} would give." for name, x in others if fault.is_(rows_of(fault, shaped(x))))
    explained = next(named, None) or next(filter(None, (look(fault) for look in LOOKS)), None)
    return [explained, *where(fault)] if explained else [*where(fault), growth(fault) or size(fault)]


def describe_added(
    said: list[str],
    recorded: np.ndarray,
    right: np.ndarray,
    before: np.ndarray,
    budget_rows: np.ndarray,
    config: Config | None = None,
) -> list[str]:
    """What `describe` says of a sum; or, if it sees no pattern there, of what was added to the stream `before` it.

    >>> right, h = np.arange(1.0, 25).reshape(8, 3), np.ones((8, 3))
    >>> budget, recorded = np.full(8, 1e-6), (right + h) / 2
    >>> describe_added(describe(recorded, right, budget), recorded, right, h, budget)
    ['What you add to the stream is 0.5 times what it should be, 1/2.', 'All 8 positions are wrong.']
    """
    if not said or not said[-1].startswith(NO_PATTERN):
        return said
    fault = made(recorded - before, right - before, budget_rows, None, config)
    looked = next(filter(None, (look(fault) for look in (zero, scale, scale_of_each, scale_of_both))), None)
    return [of_what_is_added(looked), *said[:-1]] if looked else said


def of_what_is_added(said: str) -> str:
    """
    >>> of_what_is_added("It is 0.5 times what it should be.")
    'What you add to the stream is 0.5 times what it should be.'
    """
    if said.startswith("It "):
        return f"What you add to the stream {said[3:]}"
    many = " A norm too many?" if "its direction is right" in said else ""
    return f"Of what you add to the stream, {said[0].lower()}{said[1:]}{many}"


def made(recorded, right, budget_rows, window, config) -> Fault:
    recorded, right = shaped(recorded), shaped(right)
    budget = np.asarray(budget_rows, float).reshape(right.shape[:2])
    judged = np.isfinite(right).all(axis=-1)
    off = np.abs(np.where(judged[..., None], recorded - np.where(np.isfinite(right), right, 0), 0))
    wrong = ~(length(off) <= budget)  # NaN is wrong too
    return Fault(recorded, right, budget, wrong, np.arange(len(right)), np.arange(right.shape[2]), window, config)


def shaped(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    return x[:, None] if x.ndim == 2 else x


def rows_of(f: Fault, x: np.ndarray) -> np.ndarray:
    return x[f.wrong][:, f.channels]


# What it looks like. Each looks at a fault, and says one sentence or nothing.


def not_finite(f: Fault) -> str | None:
    bad = ~np.isfinite(f.recorded).all(axis=-1)
    if not bad.any():
        return None
    first = f.at[np.flatnonzero(bad.any(axis=1))[0]]
    what = "NaN" if np.isnan(f.recorded).any() else "infinity"
    return f"{what} is recorded in {np.sum(bad)} of {bad.size} rows, first at position {first}."


def zero(f: Fault) -> str | None:
    if f.there[0].any():
        return None
    if len(f.channels) < f.right.shape[2]:
        return f"{name_channels(f)} {'is' if len(f.channels) == 1 else 'are'} 0 in every wrong row."
    return "Every wrong row is 0."


def scale(f: Fault) -> str | None:
    recorded, right = f.there
    size = np.sum(right * right)
    if not size or right.size <= ENOUGH:
        return None
    s = float(np.sum(recorded * right) / size)
    if not f.is_(s * right):
        return None
    doubt = float(np.sqrt(np.sum(f.budget[f.wrong] ** 2) / size)) * abs(s) / SAFETY
    close = [value for value in known_scales(f.config) if abs(value - s) <= max(doubt, 1e-9)]
    if len(close) != 1 or doubt > 0.1 * abs(s):
        return f"It is {s:.{int(np.clip(-np.log10(doubt / abs(s) + 1e-9), 1, 5))}g} times what it should be."
    if close == [-1]:
        return "It has the wrong sign."
    names = [name for name in known_scales(f.config)[close[0]] if name != str(int(close[0]))]
    return f"It is {close[0]:.5g} times what it should be{', ' if names else ''}{' or '.join(names)}."


def known_scales(config: Config | None) -> dict[float, list[str]]:
    """Factors that mean something in a model, and what they may be: {12.0: ["head_dim"], ...}."""
    named = {"-1": -1.0, "2": 2.0, "1/2": 0.5, "sqrt(2)": 2**0.5, "1/sqrt(2)": 0.5**0.5}
    if config:
        sizes = {name: getattr(config, name) for name in ("head_dim", "dim", "n_heads", "n_kv_heads", "n_layers")}
        sizes["(n_heads / n_kv_heads)"] = config.n_heads // config.n_kv_heads
        for name, n in sizes.items():
            inner = name.strip("()")
            named |= {inner: n, f"1/{name}": 1 / n, f"sqrt({inner})": n**0.5, f"1/sqrt({inner})": n**-0.5}
    found: dict[float, list[str]] = {}
    for name, value in named.items():
        if value != 1:
            found.setdefault(round(float(value), 12), []).append(name)
    return found


def scale_of_each(f: Fault) -> str | None:
    """A number for each head, for each row, or for each channel."""
    recorded, right = f.there
    head = np.nonzero(f.wrong)[1]
    if len(f.heads) > 1 and right.size > ENOUGH * len(f.heads):
        s = {h: ratio(recorded[head == h], right[head == h]) for h in f.heads}
        if f.is_(np.array([s[h] for h in head])[:, None] * right):
            return f"Each head is multiplied by a number of its own: {listed(f'{s[h]:.4g}' for h in f.heads)}."
    if len(f.channels) > ENOUGH:
        s = ratio(recorded, right, axis=1)
        if f.is_(s[:, None] * right):
            return (
                "Each row is multiplied by a number of its own, "
                f"{s.min():.4g} to {s.max():.4g}; its direction is right."
            )
    if len(recorded) > ENOUGH:
        s = ratio(recorded, right, axis=0)
        if f.is_(s * right):
            return f"Each channel is multiplied by a number of its own, {s.min():.4g} to {s.max():.4g}."
    return None


def scale_of_both(f: Fault) -> str | None:
    """A number for each row and one for each channel: what a norm and its weight do."""
    recorded, right = f.there
    if min(right.shape) < MANY or right.shape[1] < f.right.shape[2]:
        return None
    few, channels = np.s_[:SOME], np.ones(right.shape[1])
    for _ in range(TURNS):
        rows = ratio(recorded[few], right[few] * channels, axis=1)[:, None]
        channels = ratio(recorded[few], right[few] * rows, axis=0)
    if not f.is_(ratio(recorded, right * channels, axis=1)[:, None] * channels * right):
        return None
    return "It is multiplied by a number for each row and one for each channel: a norm too many, with its weight?"


def ratio(a: np.ndarray, b: np.ndarray, axis: int | None = None) -> np.ndarray:
    """How many times b is a, at best; 1 where b is 0."""
    size = np.sum(b * b, axis=axis)
    return np.where(size > 0, np.sum(a * b, axis=axis) / np.where(size > 0, size, 1), 1.0)


def constant(f: Fault) -> str | None:
    """Added to every wrong row, or in place of every wrong row."""
    recorded, right = f.there
    if len(f.positions) <= ENOUGH:
        return None
    same = np.broadcast_to(recorded.mean(axis=0), recorded.shape)
    if f.is_(same) and len(f.channels) < f.right.shape[2]:
        return f"{name_channels(f)} {'is' if len(f.channels) == 1 else 'are'} the same in every wrong row."
    if f.is_(same):
        return "All wrong rows are the same, whatever the position."
    added = (recorded - right).mean(axis=0)
    if f.is_(right + added):
        one = " (one number for all channels)" if len(added) > 1 and np.ptp(added) <= 1e-3 * np.abs(added).max() else ""
        return f"The same is added to every wrong row, whatever the position{one}."
    return None


def moved_positions(f: Fault) -> str | None:
    """Rows of other positions: all moved by as much, or each its own way."""
    T, at = len(f.right), f.positions
    if T > WIDE or not np.array_equal(f.at, np.arange(T)) or len(f.channels) < f.right.shape[2]:
        return None
    for by in sorted(range(1 - T, T), key=abs):
        source = at + by
        inside = (source >= 0) & (source < T)
        if not by or inside.sum() < max(ENOUGH, len(at) / 2):
            continue
        if all(from_rows(f, at[inside][some], source[inside][some]) for some in (np.s_[:1], np.s_[:])):  # one, then all
            some = "" if inside.all() else f", {len(at) - inside.sum()} at the end apart"
            return f"Rows are moved by {abs(by)}: position i holds what belongs to i {'+' if by > 0 else '-'} {abs(by)}{some}."
    recorded, right = (x[:, f.heads].reshape(T, -1) for x in (f.recorded, f.right))
    source = nearest(recorded[at], right)
    if len(at) < 2 or not from_rows(f, at, source):
        return None
    if len(set(source)) == 1:
        return f"Every wrong row is what belongs to position {source[0]}."
    shown = listed((f"{t} holds {s}'s" for t, s in zip(at, source, strict=True)), most=4)
    return f"Rows are out of order: position {shown}."


def from_rows(f: Fault, at: np.ndarray, source: np.ndarray) -> bool:
    """Do the wrong heads of the positions `at` hold the right rows of the positions `source`?"""
    recorded, right, budget = (x[:, f.heads] for x in (f.recorded, f.right, f.budget))
    off, error = length(recorded[at] - right[source]), length(recorded[at] - right[at])
    allowed = np.maximum(budget[at], budget[source])
    return bool((off <= allowed).all() and np.sum(off**2) <= LEFT * np.sum(error**2))


def moved_heads(f: Fault) -> str | None:
    heads = f.heads
    if f.right.shape[1] < 2:
        return None
    columns = f.recorded.swapaxes(0, 1).reshape(f.right.shape[1], -1)
    source = nearest(columns[heads], f.right.swapaxes(0, 1).reshape(f.right.shape[1], -1))
    every = np.arange(f.right.shape[1])
    every[heads] = source
    if not f.is_(rows_of(f, f.right[:, every])):
        return None
    shown = listed((f"{h} holds {s}'s" for h, s in zip(heads, source, strict=True)), most=8)
    return f"Heads are {'out of order' if len(set(source)) == len(source) else 'read from others'}: head {shown}."


def moved_channels(f: Fault) -> str | None:
    """The channels of each row, in another order; or of all heads together."""
    for whole in (False, True):
        recorded, right = (x.reshape(len(x), -1) if whole else x for x in (f.recorded, f.right))
        if whole and f.right.shape[1] == 1 or right.shape[-1] > WIDE:
            continue
        rows = f.wrong.any(axis=1) if whole else f.wrong
        if rows.sum() < MANY:
            continue
        a, b = recorded[rows], right[rows]
        channels = np.arange(a.shape[1]) if whole else f.channels
        source = np.arange(a.shape[1])
        source[channels] = nearest(a[:, channels].T, b.T)
        guess = right[..., source].reshape(f.right.shape)
        if (source != np.arange(len(source))).any() and f.is_(rows_of(f, guess)):
            return order_in_words(source, f.right.shape[1] if whole else 1)
    return None


def order_in_words(source: np.ndarray, heads: int) -> str:
    n = len(source)
    every, start = np.arange(n), "Channels are out of order: "
    known = {"the even ones first, then the odd ones": np.concatenate([every[0::2], every[1::2]]),
             "the two halves in turns": every.reshape(2, -1).T.ravel() if n % 2 == 0 else every,
             "the two of each pair exchanged": every ^ 1 if n % 2 == 0 else every,
             "the two halves exchanged": np.roll(every, n // 2) if n % 2 == 0 else every,
             "from the last to the first": every[::-1],
             "heads and channels exchanged": every.reshape(heads, -1).T.ravel(),
             "channels and heads exchanged": every.reshape(-1, heads).T.ravel()}  # fmt: skip
    for name, order in known.items():
        if np.array_equal(source, order):
            return f"{start}{name}."
    for by in range(1, n):
        if np.array_equal(source, np.roll(every, by)):
            return f"{start}each is moved on by {by}."
    moved = every[source != every]
    repeated = len(set(source)) < n
    shown = listed((f"{c} holds {source[c]}'s" for c in moved), most=4)
    return f"Channels are {'read from others' if repeated else 'out of order'}: channel {shown}."


def nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each row of a, which row of b is nearest: (m, n), (k, n) -> (m,)."""
    return np.argmin(np.sum(b * b, axis=1) - 2 * a @ b.T, axis=1)


LOOKS: tuple[Callable[[Fault], str | None], ...] = (
    zero, scale, moved_heads, moved_channels, moved_positions, constant, scale_of_each, scale_of_both,
)  # fmt: skip


# Where it is.


def where(f: Fault) -> Iterator[str]:
    yield in_positions(f)
    if said := in_heads(f):
        yield said
    if len(f.channels) < f.right.shape[2]:
        yield f"Only {name_channels(f)[0].lower()}{name_channels(f)[1:]} of {f.right.shape[2]} {'is' if len(f.channels) == 1 else 'are'} wrong."


def in_positions(f: Fault) -> str:
    at, T, W = f.positions.tolist(), len(f.right), f.window
    first, last, n = at[0], at[-1], len(at)
    if not np.array_equal(f.at, np.arange(T)):
        if n == T:
            return (
                f"All {T} recorded positions are wrong."
                if T > 1
                else f"The one recorded position, {f.at[0]}, is wrong."
            )
        return f"{n} of {T} recorded positions are wrong: {listed(f.at[at].tolist(), most=6)}."
    if n == T:
        return f"All {T} positions are wrong." if T > 1 else "The one position is wrong."
    if n == 1:
        return f"Only position {first} is wrong, of {T}{', the last' if first == T - 1 > 0 else ''}."
    if last == T - 1 and n == T - first:
        window = ", which is W: the first that the window cuts off" if first == W else ""
        return f"Every position from {first} on is wrong, and none before{window}."
    if first == 0 and n == last + 1:
        return f"Every position up to {last} is wrong, and none after."
    if period := period_of(f.wrong.any(axis=1)[first:]):
        window = ", which is W" if period == W else f" (W is {W})" if W and W % period == 0 else ""
        return f"The wrong positions repeat every {period}{window}: {listed(at, most=6)}."
    if n == last - first + 1:
        return f"Positions {first} to {last} are wrong, of {T}."
    window = f" The error begins at W = {W}." if first == W else ""
    return f"{n} of {T} positions are wrong: {listed(at, most=6)}.{window}"


def period_of(flags: np.ndarray) -> int | None:
    """The shortest after which they repeat, three times at least."""
    for period in range(2, len(flags) // 3 + 1):
        if np.array_equal(flags[period:], flags[:-period]) and 0 < flags[:period].sum() < period:
            return period
    return None


def in_heads(f: Fault) -> str | None:
    heads, n, c = f.heads.tolist(), f.right.shape[1], f.config
    if n == 1 or len(heads) == n:
        return None
    kind = "head"
    if c and c.n_heads != c.n_kv_heads:
        kind = {c.n_heads: "query head", c.n_kv_heads: "key/value head"}.get(n, kind)
    said = (
        f"Only {kind}{'s' * (len(heads) > 1)} {listed(heads, most=8)} of {n} {'are' if len(heads) > 1 else 'is'} wrong"
    )
    if kind == "query head":
        group = c.n_heads // c.n_kv_heads
        groups = sorted({h // group for h in heads})
        if len(heads) == group * len(groups):
            said += f": those that read key/value head{'s' * (len(groups) > 1)} {listed(groups)}"
    return said + "."


def wrong_channels(f: Fault) -> np.ndarray:
    """The fewest without which every row is within its budget; all of them, if that is most."""
    if f.wrong.sum() * f.right.shape[2] > LARGE:
        return f.channels
    rows, budget = np.abs(f.recorded - f.right)[f.wrong], f.budget[f.wrong]
    order = np.argsort(-np.max(rows / budget[:, None], axis=0), kind="stable")
    squares = np.cumsum(rows[:, order[::-1]] ** 2, axis=1)[:, ::-1]  # what is left from the k-th on
    fits = np.flatnonzero((np.sqrt(squares) <= budget[:, None]).all(axis=0))
    n = rows.shape[1]
    count = int(fits[0]) if len(fits) else n
    return np.sort(order[:count]) if 0 < count <= n // 2 else np.arange(n)


def name_channels(f: Fault) -> str:
    channels, n = f.channels, f.right.shape[2]
    if len(channels) == 1:
        return f"Channel {channels[0]}"
    step = int(channels[1] - channels[0])
    if (np.diff(channels) == step).all():
        if step == 1:
            return f"Channels {channels[0]} to {channels[-1]}"
        if step == 2 and len(channels) == n // 2:
            return f"The {'even' if channels[0] == 0 else 'odd'} channels"
    return f"Channels {listed(channels.tolist(), most=6)}"


def growth(f: Fault) -> str | None:
    """Said with its numbers; only if it holds from one quarter of the wrong positions to the next."""
    if len(f.positions) < MANY:
        return None
    quarters = [np.median(q) for q in np.array_split(shares(f), 4)]
    if quarters[-1] <= 2 * quarters[0] or any(b <= 1.15 * a for a, b in pairwise(quarters)):
        return None
    return (
        f"The error grows with the position: from {quarters[0]:.2g} of a row's length in the first quarter of "
        f"the wrong ones to {quarters[-1]:.2g} in the last."
    )


def size(f: Fault) -> str:
    share = shares(f)
    least, most = f"{share.min():.2g}", f"{share.max():.2g}"
    return f"The error is {least}{f' to {most}' if most != least else ''} of a row's length where it is wrong."


def shares(f: Fault) -> np.ndarray:
    """How long the error is at each wrong position, next to what is right there."""
    error, right = ((np.where(f.wrong[..., None], x, 0) ** 2).sum(axis=(1, 2)) for x in (f.recorded - f.right, f.right))
    return np.sqrt(error[f.positions] / np.maximum(right[f.positions], np.finfo(float).tiny))


def listed(items, most: int = 16) -> str:
    """
    >>> listed([1, 2, 3], most=2)
    '1, 2, ...'
    """
    items = [str(item) for item in items]
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")

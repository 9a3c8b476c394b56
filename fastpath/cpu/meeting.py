"""Inside a kernel that several threads run: meeting at a barrier, and whose share of a loop is which."""

from fastpath.cpu.bits import atomic_add, give_way, inline, jit

SPINS = 2000  # looks at the counter before the processor is offered to others


@jit
def barrier(counter, n):
    """Wait for the n threads of the team. The counter only grows: each n arrivals are one meeting."""
    if n > 1:
        goal = (atomic_add(counter, 1) // n + 1) * n
        spins = 0
        while atomic_add(counter, 0) < goal:
            spins += 1
            if spins > SPINS:
                give_way()


@inline
def share(count, me, n, unit):
    """This thread's part of range(count), in whole units but for the end: (first, end)."""
    units = (count + unit - 1) // unit
    return min(units * me // n * unit, count), min(units * (me + 1) // n * unit, count)

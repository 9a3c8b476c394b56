"""A class: the lessons handed out, and what comes back graded.

lesson    a notebook as cells of plain text: its answers, its checks, and what an answer needs of the cells before it
right     right answers in place of the reader's, from minimistral.exercises
export    the lessons for a class: plain, or as a course for nbgrader or otter
handins   what students handed in: files by student and lesson, and the answers in them
own_code  which of the package's functions an answer calls
values    what an answer gives back, as text: nothing that comes from a hand-in is ever unpickled or run in the grader
confine   what the process of a hand-in may not do: Landlock, seccomp, limits of the system
runner    that process: it runs one answer on inputs that it is given, and says what came out
process   the grader's side of it: starts it, watches its time, its files and its words, and ends it
probe     a hand-in that tries to do harm, to see what holds on this machine
grade     all of it: hand-ins in, rows out
"""

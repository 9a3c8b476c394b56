"""What the site does that Sphinx does not: each module is one extension of it.

commands     the command line, from the options that it has
docstrings   docstrings are plain text, not reStructuredText
formulas     MathML, which browsers draw without a script
lessons      their numbers, and the words of their pictures for who cannot see them
repository   links to files of the repository that are no page
"""

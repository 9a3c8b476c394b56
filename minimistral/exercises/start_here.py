"""Lesson 00."""

EXERCISES = []

GUESSES = {}

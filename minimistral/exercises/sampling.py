"""Lesson 12."""

EXERCISES = []

GUESSES = {}

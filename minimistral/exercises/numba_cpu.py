"""Lesson 14."""

EXERCISES = []

GUESSES = {}

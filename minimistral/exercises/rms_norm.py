"""Lesson 03."""

EXERCISES = []

GUESSES = {}

"""Lesson 09."""

EXERCISES = []

GUESSES = {}

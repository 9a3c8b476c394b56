"""Lesson 08."""

EXERCISES = []

GUESSES = {}

"""Lesson 15."""

EXERCISES = []

GUESSES = {}

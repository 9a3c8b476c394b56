"""Lesson 06."""

EXERCISES = []

GUESSES = {}

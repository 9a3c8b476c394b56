"""Lesson 01."""

EXERCISES = []

GUESSES = {}

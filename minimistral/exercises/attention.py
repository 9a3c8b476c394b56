"""Lesson 05."""

EXERCISES = []

GUESSES = {}

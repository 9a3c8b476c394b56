"""Lesson 13."""

EXERCISES = []

GUESSES = {}

"""Lesson 04."""

EXERCISES = []

GUESSES = {}

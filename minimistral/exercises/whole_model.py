"""Lesson 11."""

EXERCISES = []

GUESSES = {}

"""Lesson 16."""

EXERCISES = []

GUESSES = {}

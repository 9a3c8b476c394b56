"""Lesson 10."""

EXERCISES = []

GUESSES = {}

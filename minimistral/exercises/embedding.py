"""Lesson 02."""

EXERCISES = []

GUESSES = {}

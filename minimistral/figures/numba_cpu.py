"""Pictures of lesson 14."""

__all__ = []

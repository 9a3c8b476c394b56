"""Pictures of lesson 03."""

__all__ = []

"""Pictures of lesson 15."""

__all__ = []

"""Pictures of lesson 10."""

__all__ = []

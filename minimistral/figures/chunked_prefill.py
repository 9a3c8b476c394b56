"""Pictures of lesson 09."""

__all__ = []

"""Pictures of lesson 12."""

__all__ = []

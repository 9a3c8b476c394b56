"""Pictures of lesson 11."""

__all__ = []

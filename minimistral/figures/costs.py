"""Pictures of lesson 16."""

__all__ = []

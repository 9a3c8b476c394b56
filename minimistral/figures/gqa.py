"""Pictures of lesson 06."""

__all__ = []

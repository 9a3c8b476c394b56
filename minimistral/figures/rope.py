"""Pictures of lesson 04."""

__all__ = []

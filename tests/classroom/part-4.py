"""Answers of the assignment of Part IV."""

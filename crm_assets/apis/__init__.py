"""The APIs that can be loaded: the vocabulary of their configurations, and those that come with the project."""

"""A handler's annotations as the schema of its arguments."""

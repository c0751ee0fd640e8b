"""A process for code that nobody has read: limited, cut off, and asked only for results."""

"""The two towers, what they read, and the model that joins them."""

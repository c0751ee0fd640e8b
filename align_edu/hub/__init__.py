"""The released ALIGN weights, in and out."""

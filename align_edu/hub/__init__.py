"""The released ALIGN weights: reading and writing Hugging Face's AlignModel."""

"""The exercises notebook by notebook: the right answer, cases, and realistic wrong answers."""

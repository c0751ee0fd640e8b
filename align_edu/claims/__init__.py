"""The scoreboard: claims of the paper, the runs that test them at toy size, and the verdicts."""

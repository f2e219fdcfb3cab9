"""Functions of single numbers that the compiler turns into vector instructions."""

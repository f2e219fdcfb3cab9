"""Long tests of what happens to a group whose processes are killed; see __main__."""

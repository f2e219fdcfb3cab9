"""What layers are, what makes layers of layers, and what looks inside of them."""

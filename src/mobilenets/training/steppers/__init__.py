"""What makes a step of training: one interface, and plain PyTorch behind it."""

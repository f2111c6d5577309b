"""What can be learned of a picture: the only room that knows what a label means. A new task is a folder here."""

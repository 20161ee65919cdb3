"""What any room may say, and how it travels. Imports no other room."""

"""What is to be, compared with what is, and done."""

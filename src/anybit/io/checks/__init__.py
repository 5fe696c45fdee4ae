"""What is wrong with a model, found before anything is made of it."""

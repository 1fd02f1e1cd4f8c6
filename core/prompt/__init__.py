"""What the model is told and how its text is read: words, then token ids."""

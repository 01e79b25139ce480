"""What people think of sampled answers, and how far they agree."""

"""What a trained network is for: other pictures, films, programs and audiences."""

"""Files of pictures and videos: listing, archives, decoding."""

"""What commands print, and the streams that they print to."""

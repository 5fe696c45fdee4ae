"""What hls4ml would refuse or compute otherwise, rewritten into what it computes exactly: a file a kind."""

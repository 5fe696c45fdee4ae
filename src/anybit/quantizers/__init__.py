"""What a quantiser means, however it is spelt."""

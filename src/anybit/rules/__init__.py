"""Rules: what each finding, repair and error means, with cause and cure; a page and `anybit explain` show them."""

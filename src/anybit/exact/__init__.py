"""The mathematics of certification: step functions, and how their direction is proven."""

"""Operators of FINN's flow beside the quantisers: binary products, pools of pixels, marks for debugging."""

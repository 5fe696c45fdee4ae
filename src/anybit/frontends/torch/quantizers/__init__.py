"""Quantisers as PyTorch, torch.ao, PT2E and torchao spell them, as operators of the hub."""

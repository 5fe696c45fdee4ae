"""Front ends: models as training frameworks hold them, as hub models with the framework's own numbers."""

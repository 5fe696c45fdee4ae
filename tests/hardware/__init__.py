"""The hardware table: every model, for every target, form and io type: ready or refused, run or not, right or not."""

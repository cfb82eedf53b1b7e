"""The VectorShift door: what programs written with the `vectorshift` package speak, on our agents and sessions."""

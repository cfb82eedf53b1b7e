"""gRPC. Nothing outside of this room imports it before the server is ready: loading it takes a tenth of a second."""

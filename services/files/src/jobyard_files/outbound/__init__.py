"""The disk that holds the bytes, and the executor that knows which outputs count."""

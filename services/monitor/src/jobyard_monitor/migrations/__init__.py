"""The schema `monitor`, step by step."""

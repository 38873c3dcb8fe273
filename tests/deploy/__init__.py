"""What a deployment is made of: compose file, image, scripts."""

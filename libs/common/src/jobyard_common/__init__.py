"""What the services share: contracts and plumbing, no business rule."""

"""The only words that services share: identifiers, topics, the envelope and the messages in it.

Every type here is on the wire somewhere. Adding an optional field is free; anything else is a new version beside the
old one. Golden examples of every version live in `tests/contracts/examples` and are read by tests for ever.
"""

"""The command tools of the test pack. Some of their code also runs in the other isolations."""

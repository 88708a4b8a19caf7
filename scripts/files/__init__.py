"""Reading pairs from files, and writing verdicts that survive a kill."""

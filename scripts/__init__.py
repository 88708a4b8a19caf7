"""One verb a file; what a verb does is a function that tests call too."""

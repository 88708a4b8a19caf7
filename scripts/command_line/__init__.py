"""Code that verbs share: arguments, exit codes and tables."""

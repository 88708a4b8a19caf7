"""What every verb does alike: arguments, exit codes, tables and number formats."""

"""The commands, by what you do with them. They parse and print; they import what lies below."""

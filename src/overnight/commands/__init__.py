"""The commands, one file for each purpose. They parse and print; they import what lies below."""

"""The commands, by what a person does with them."""

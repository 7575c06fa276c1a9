"""What all rooms share: records, errors, quantities, text. Imports no other room."""

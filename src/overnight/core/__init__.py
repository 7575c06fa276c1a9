"""What all rooms share: records, errors, quantities, text. It imports no other room."""

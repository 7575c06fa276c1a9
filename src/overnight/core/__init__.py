"""The words that all rooms use: records, errors, quantities, text. It imports no other room."""

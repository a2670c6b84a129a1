"""The long runs behind records: what only the book needs of them."""

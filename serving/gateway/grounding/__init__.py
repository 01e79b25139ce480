"""What a suggestion is made from, and what is offered beside it: a line's libraries."""

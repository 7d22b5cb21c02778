"""Who may do what: users, passwords, tokens, roles, and the names that the server answers to."""

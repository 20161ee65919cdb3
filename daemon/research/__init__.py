"""Research on history: what is measured before it is trusted."""

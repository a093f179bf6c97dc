"""Claims about what an operation costs: lecture 07."""

"""What other systems lack or do otherwise, imitated here, and looked for in the sources."""

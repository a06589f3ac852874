"""Speed figures: peer and gaiaops alternately in one run, ratios of medians of five."""

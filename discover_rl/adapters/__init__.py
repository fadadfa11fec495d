"""Bridges to our neighbours: environments of Gymnasium for our loop, our goal choice for scripts of others."""

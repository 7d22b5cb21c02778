"""The agent that runs steps, and how to speak with it."""

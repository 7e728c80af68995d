//! Built-in tools: files jailed to the workspace, an exact calculator, the time.

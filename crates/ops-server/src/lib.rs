//! Surfaces over the engine's commands: REST and server-sent events.

//! The pure domain of the engine: ids, states, commands, decisions and ports. No I/O.

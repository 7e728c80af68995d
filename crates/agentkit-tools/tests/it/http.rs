//! The HTTP tools against servers on loopback.

mod answers;
mod locations;
mod redirects;
mod requests;
mod server;
mod tls;

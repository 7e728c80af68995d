//! The HTTP tools against servers on loopback.

mod answers;
mod places;
mod redirects;
mod requests;
mod server;
mod tls;

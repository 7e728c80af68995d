//! Reads the output of a program, keeps a bounded part, and ends a program that writes too much.

use std::os::fd::AsFd as _;

use tokio::{
    io::AsyncReadExt as _,
    net::{UnixStream, unix::pipe},
};

use crate::linux::sys::sockets;

/// The part of an output to keep.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// So many bytes; more end the program.
    First(u64),
    /// The last bytes; more than the limit end the program.
    Last { bytes: usize, limit: u64 },
}

/// The kept part of an output.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) bytes: Vec<u8>,
    /// Whether the output was larger than the limit.
    pub(super) passed: bool,
}

/// Reads to the end, which comes when every process that could write is dead.
pub(super) async fn drain(mut from: pipe::Receiver, kept: Kept, status: &UnixStream) -> Drained {
    let mut drained = Drained::default();
    let mut total = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    // A pipe that cannot be read has come to its end.
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let read = &buffer[..length];
        total += length as u64;
        let limit = match kept {
            Kept::First(limit) => {
                let room = usize::try_from(limit).unwrap_or(usize::MAX) - drained.bytes.len();
                drained.bytes.extend_from_slice(&read[..length.min(room)]);
                limit
            }
            Kept::Last { bytes, limit } => {
                drained.bytes.extend_from_slice(read);
                let excess = drained.bytes.len().saturating_sub(bytes);
                drained.bytes.drain(..excess);
                limit
            }
        };
        if total > limit && !drained.passed {
            drained.passed = true;
            // One that has ended meanwhile hears nothing.
            let _ = sockets::send(status.as_fd(), b"{}", &[]);
        }
    }
    drained
}

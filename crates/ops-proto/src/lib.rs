//! Protocol buffers of the gRPC services: their descriptors, and with the feature `client` their messages and
//! clients.
//!
//! The server reads and writes messages by the descriptors, so that it needs no generated code.

/// Every file with its imports and comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Messages and client of version 1.
#[cfg(feature = "client")]
pub mod version_1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("ops_core.proto");
}

/// Messages and clients of `opspawn.v1`.
#[cfg(feature = "client")]
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("opspawn.v1");
}

#[cfg(feature = "client")]
pub use {prost, prost_types, tonic};

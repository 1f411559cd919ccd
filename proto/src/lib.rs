//! What Wattle says: the frame codec, the messages between nodes, and (feature `grpc`) the API for applications.
//!
//! Messages are Protobuf (proto3); the frames around them are described in [`frame`]. Everything here is `no_std` unless `grpc` is on.
#![cfg_attr(not(feature = "grpc"), no_std)]

extern crate alloc;

pub mod envelope;
pub mod frame;

macro_rules! family {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[allow(clippy::all, missing_docs)]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/wattle.", stringify!($name), ".rs"));
        }
    };
}

family!(
    /// End to end, and what a node remembers of itself.
    node
);
family!(
    /// Between neighbours, and heartbeats between pairs.
    link
);
family!(
    /// Link states.
    route
);
family!(
    /// Consensus, on the wire and on disk.
    raft
);
family!(
    /// The control group's state, on the wire and on disk.
    mesh
);
family!(
    /// Streams, on the wire and on disk.
    stream
);

/// The API for applications and operators.
#[cfg(feature = "grpc")]
#[allow(clippy::all, missing_docs)]
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/wattle.api.v1.rs"));

    /// The compiled descriptors, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api_descriptors.bin"));
}

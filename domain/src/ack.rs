//! How far a message has come.

/// How far a message has come, as the gateway's network counts.
pub type AckLevel = i64;

/// The network took it.
pub const ACK_SENT: AckLevel = 1;
/// It is on the recipient's device.
pub const ACK_DELIVERED: AckLevel = 2;
/// It was read.
pub const ACK_READ: AckLevel = 3;
/// Its voice or video was played.
pub const ACK_PLAYED: AckLevel = 4;

//! The surfaces: routes, wire types and envelopes, one folder each.

pub(crate) mod batch;
pub(crate) mod support_desk;

//! The surfaces: routes, wire types and envelopes, one folder each.

pub(crate) mod admin_chat;
pub(crate) mod batch;
pub(crate) mod crm;
pub(crate) mod support_desk;

//! Messages: what they say ([`template`], [`templates`]), and what became of them ([`receipts`]).

pub mod receipts;
pub mod template;
pub mod templates;

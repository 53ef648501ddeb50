//! Messages: what they say ([`template`], [`templates`]), how a single one is written ([`compose`]), what customers write
//! ([`inbox`]), what is told of them ([`receipts`]), reading them ([`history`], [`tally`]), and comparing them with what a
//! gateway has ([`compare`]). [`limits`] says how much is kept of what a network tells. How one leaves, and what becomes of
//! it then, is [`delivery`](crate::delivery)'s.

pub mod compare;
pub mod compose;
pub mod history;
pub mod inbox;
pub mod limits;
pub mod receipts;
pub mod tally;
pub mod template;
pub mod templates;

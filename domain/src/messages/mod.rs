//! Messages: what they say ([`template`], [`templates`]), how a single one is sent ([`compose`], [`deliver`]), what
//! customers write ([`inbox`]), what becomes of them ([`receipts`]), reading them ([`history`], [`tally`]), and comparing
//! them with what a gateway has ([`compare`]), sending again what nobody has ([`resend`]). [`limits`] says how much is kept of what a network tells.

pub mod compare;
pub mod compose;
pub mod deliver;
pub mod history;
pub mod inbox;
pub mod limits;
pub mod receipts;
pub mod reports;
pub mod resend;
pub mod tally;
pub mod template;
pub mod templates;

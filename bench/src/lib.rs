//! Real processes of Paceline on a database of their own: what `paceline bench` measures and `paceline soak` tries.
//!
//! The processes are this very executable, started again with a role. On the split set-up a database is made on the
//! PostgreSQL of the [`Environment`] and dropped at the end; their Redis must be one that nothing else uses.

mod rig;
mod soak;
mod speed;

pub use rig::Environment;
pub use soak::{Soaked, soak};
pub use speed::{Figure, measure};

//! What senders are called. A name never changes, so each is read once.

use domain::{Db, SenderId, senders};
use parking_lot::Mutex;
use sea_orm::DbErr;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct SenderNames(Mutex<HashMap<SenderId, Arc<str>>>);

impl SenderNames {
    /// The name of a sender; the default one's for a batch without one.
    pub(crate) async fn of(&self, db: &Db, sender: Option<SenderId>) -> Result<Arc<str>, DbErr> {
        let Some(id) = sender else { return Ok(senders::DEFAULT.into()) };
        if let Some(known) = self.0.lock().get(&id) {
            return Ok(known.clone());
        }
        let name = senders::name(db.read(), id).await?;
        let name: Arc<str> = name.ok_or_else(|| DbErr::RecordNotFound(format!("sender {id}")))?.into();
        self.0.lock().insert(id, name.clone());
        Ok(name)
    }
}

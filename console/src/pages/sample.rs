//! `/console/sample`: made-up contacts, for who wants to see a first campaign before they have any of their own.
//!
//! Only where messages go to the simulator: the numbers may be somebody's.

use super::making::{self, Made};
use crate::fault::Fault;
use crate::guard::{Context, redirect};
use domain::batches::{self, CreateError, ImportLine, ImportWriter, NewImport};
use domain::contacts::import_file::ImportRow;
use poem::Response;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How many contacts are made.
const CONTACTS: u32 = 50;

/// How long their import is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Their tag.
pub(super) const TAG: &str = "sample";

const NAMES: [&str; 5] = ["Aisyah", "Wei", "Kumar", "Maria", "Lina"];

/// Makes them, and leads to a send that is filled in.
pub(crate) async fn make(context: Context) -> Result<Response, Fault> {
    if !context.app.settings.simulator {
        return Err(Fault::NotFound);
    }
    let accepted = OnceLock::new();
    let name = making::fresh();
    let made = making::once(&context, &name, TAG, async |now, user| {
        let tags = vec![TAG.to_owned()];
        let new = NewImport { skip_duplicates: true, tags, source: Some(TAG.into()), default_country: None };
        let mut writer = ImportWriter::default();
        for (line, name) in (1..=CONTACTS).zip(NAMES.into_iter().cycle()) {
            let row = ImportRow {
                line,
                // Of a block that is kept for stories.
                phone: format!("+1212555{:04}", 100 + line),
                name: Some(name.to_owned()),
                tags: Vec::new(),
                source: None,
                attributes: BTreeMap::new(),
            };
            writer.push(ImportLine::Row(row))?;
        }
        let tx = context.app.db.begin().await?;
        let step = writer.finish(&tx, now, user, &new).await?;
        accepted.get_or_init(|| step.value.summary.id);
        Ok::<_, CreateError>((tx, step))
    });
    match made.await? {
        Made::Accepted(_) => {}
        Made::Refused(CreateError::Database(error)) => return Err(error.into()),
        Made::Refused(error) => {
            tracing::error!(%error, "the sample's import was refused");
            return Err(Fault::Ours);
        }
    }
    // They are there when the form counts them. Their import takes a moment; who comes too soon sees fewer, and checks again.
    let began = Instant::now();
    while let Some(id) = accepted.get()
        && began.elapsed() < PATIENCE
        && batches::get(context.app.db.read(), *id).await?.is_some_and(|batch| !batch.summary.status.is_terminal())
    {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(redirect("/console/new/send?sample=1"))
}

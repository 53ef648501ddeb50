//! What a batch would do, told beforehand: read by the same rules as its jobs follow, and nothing written.

use super::approvals;
use super::create::{CreateError, NewSend, NewTag, Recipients};
use super::forecast::{Sender, Wanted};
use super::lookup::{Lookup, NO_NUMBER, SUPPRESSED, TWICE, resolve};
use super::pace::LimitedBy;
use super::recipients::{Audience, ContactRef, ContactRefs};
use crate::db::{self, Dialect};
use crate::messages::template::{self, Template};
use crate::model::TagOperation;
use crate::senders;
use crate::time::Timestamp;
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How many contacts are read at once.
const PAGE: usize = 2_000;

/// How many are shown of those who are served, and of each reason for which others are not.
const SAMPLES: usize = 5;

/// How many messages are rendered to see whether they can be: all of most batches. Of the others the rest is not known.
const RENDERED: i64 = 10_000;

/// Contacts that would be left out, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excluded {
    /// The code that their items would have.
    pub reason: &'static str,
    /// How many.
    pub count: i64,
    /// Some of them, as the request named them, or by their numbers.
    pub samples: Vec<String>,
}

/// One of those who would be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSample {
    /// Who.
    pub contact: ContactId,
    /// The number, in full: who may not see it is for the surface to know.
    pub phone: String,
    /// What they would read.
    pub text: String,
}

/// Something that whoever sends should know, and that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// A stable word.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// What a send would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendPlan {
    /// How many would get it; who is excluded is not among them.
    pub recipients: i64,
    /// Who would not, by reason.
    pub excluded: Vec<Excluded>,
    /// When the first would leave.
    pub starts_at: Timestamp,
    /// When the last would leave, without jitter and if nothing else takes the sender's pace; `None`: see
    /// [`LimitedBy::Gateway`].
    pub ends_at: Option<Timestamp>,
    /// The same with all of the last one's jitter.
    pub ends_at_latest: Option<Timestamp>,
    /// What says how fast it goes.
    pub limited_by: LimitedBy,
    /// Some of its messages.
    pub samples: Vec<SendSample>,
    /// What to know.
    pub warnings: Vec<Warning>,
}

/// Contacts in a set-based batch that would change.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct SetSample {
    /// Who.
    #[sea_orm(alias = "id")]
    pub contact: ContactId,
    /// The number in full, if there is one.
    pub phone: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// For a change of tags: those it has.
    #[sea_orm(skip)]
    pub before: Option<Vec<String>>,
    /// For a change of tags: those it would have.
    #[sea_orm(skip)]
    pub after: Option<Vec<String>>,
}

/// What a change of tags or a deletion would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetPlan {
    /// How many contacts were named, each counted once.
    pub total: i64,
    /// How many would change.
    pub changed: i64,
    /// How many are as they would become already.
    pub unchanged: i64,
    /// Which would not be touched, by reason.
    pub excluded: Vec<Excluded>,
    /// Some of those that would change.
    pub samples: Vec<SetSample>,
}

#[derive(Default)]
struct LeftOut(BTreeMap<&'static str, Excluded>);

impl LeftOut {
    fn add(&mut self, reason: &'static str, who: impl Into<String>) {
        let entry = self.0.entry(reason).or_insert_with(|| Excluded { reason, ..Excluded::default() });
        entry.count += 1;
        if entry.samples.len() < SAMPLES {
            entry.samples.push(who.into());
        }
    }

    fn count(&self) -> i64 {
        self.0.values().map(|excluded| excluded.count).sum()
    }

    fn list(self) -> Vec<Excluded> {
        self.0.into_values().collect()
    }
}

/// Tells what a send would do. `sender_rate` is the configured limit of a sender whose row has none.
///
/// # Errors
/// What [`create_send`](super::create_send) would refuse, and the database's.
pub async fn plan_send(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    new: &NewSend,
    sender_rate: Option<i64>,
) -> Result<SendPlan, CreateError> {
    let content = match new.template {
        Some(id) => crate::messages::templates::content(conn, id).await?.ok_or(CreateError::NoTemplate)?,
        None => new.content.clone().unwrap_or_default(),
    };
    let mut sending = Sending::of(Template::parse(&content)?);
    match &new.recipients {
        Recipients::Contacts(refs) => {
            for page in refs.as_slice().chunks(PAGE) {
                sending.add(conn, page).await?;
            }
        }
        Recipients::Audience(audience) => {
            if audience.count(conn).await? == 0 {
                return Err(CreateError::EmptyAudience);
            }
            sending.add_audience(conn, audience).await?;
        }
    }
    sending.plan(conn, now, new, sender_rate).await
}

struct Sending {
    template: Template,
    recipients: i64,
    rendered: i64,
    left_out: LeftOut,
    seen: HashSet<i64>,
    samples: Vec<SendSample>,
}

impl Sending {
    fn of(template: Template) -> Self {
        let (left_out, seen, samples) = (LeftOut::default(), HashSet::new(), Vec::new());
        Self { template, recipients: 0, rendered: 0, left_out, seen, samples }
    }

    async fn add_audience(&mut self, conn: &impl ConnectionTrait, audience: &Audience) -> Result<(), DbErr> {
        let mut after = 0;
        loop {
            let page = audience.page(conn, after, PAGE as u64).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            let refs: Vec<ContactRef> = page.into_iter().map(ContactRef::Number).collect();
            self.add(conn, &refs).await?;
        }
    }

    async fn add(&mut self, conn: &impl ConnectionTrait, refs: &[ContactRef]) -> Result<(), DbErr> {
        let found = resolve(conn, refs.iter()).await?;
        for contact in refs {
            let Some(recipient) = found.get(contact) else {
                self.left_out.add("contact_not_found", contact.to_string());
                continue;
            };
            if recipient.suppressed {
                self.left_out.add(SUPPRESSED.0, recipient.id.to_string());
                continue;
            }
            if recipient.phone.is_empty() {
                self.left_out.add(NO_NUMBER.0, recipient.id.to_string());
                continue;
            }
            if !self.seen.insert(recipient.id.0) {
                self.left_out.add(TWICE.0, recipient.id.to_string());
                continue;
            }
            if self.rendered < RENDERED {
                self.rendered += 1;
                let (name, attributes) = (recipient.name.as_deref(), &recipient.attributes);
                let values = template::Recipient { name, phone: &recipient.phone, attributes };
                let Ok(text) = self.template.render(&values) else {
                    self.left_out.add("template_error", recipient.id.to_string());
                    continue;
                };
                if self.samples.len() < SAMPLES {
                    self.samples.push(SendSample { contact: recipient.id, phone: recipient.phone.clone(), text });
                }
            }
            self.recipients += 1;
        }
        Ok(())
    }

    async fn plan(
        self,
        conn: &impl ConnectionTrait,
        now: Timestamp,
        new: &NewSend,
        sender_rate: Option<i64>,
    ) -> Result<SendPlan, CreateError> {
        let name = new.sender.as_deref().unwrap_or(senders::DEFAULT);
        let sender = Sender::named(conn, name, sender_rate).await?.ok_or(CreateError::NoSender)?;
        let mut warnings = self.warnings();
        warnings.extend(sender.warnings(now, new.rate_per_minute.map(i64::from)));
        let named = self.recipients + self.left_out.count();
        warnings.extend(approvals::asked(named, new.approval_above).map(|_| approvals::warning(named)));
        let wanted = Wanted {
            items: self.recipients,
            rate: new.rate_per_minute.map(i64::from),
            jitter_ms: i64::from(new.jitter_ms),
            from: new.schedule_at.unwrap_or(now),
        };
        let course = sender.course(now, &wanted);
        Ok(SendPlan {
            recipients: self.recipients,
            excluded: self.left_out.list(),
            starts_at: course.starts_at,
            ends_at: course.ends_at,
            ends_at_latest: course.ends_at_latest,
            limited_by: course.limited_by,
            samples: self.samples,
            warnings,
        })
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.recipients == 0 {
            warnings.push(Warning { code: "nobody", message: "nobody would get it".into() });
        }
        if self.rendered >= RENDERED && self.recipients > RENDERED {
            let message =
                format!("the first {RENDERED} messages were rendered; whether all others can be is not known");
            warnings.push(Warning { code: "rendered_partly", message });
        }
        warnings
    }
}

/// Tells what a change of tags would do.
///
/// # Errors
/// The database's.
pub async fn plan_tag(conn: &impl ConnectionTrait, new: &NewTag) -> Result<SetPlan, DbErr> {
    plan_set(conn, &new.contacts, Some((new.operation, &new.tags))).await
}

/// Tells what a deletion would do.
///
/// # Errors
/// The database's.
pub async fn plan_delete(conn: &impl ConnectionTrait, contacts: &ContactRefs) -> Result<SetPlan, DbErr> {
    plan_set(conn, contacts, None).await
}

async fn plan_set(
    conn: &impl ConnectionTrait,
    contacts: &ContactRefs,
    tags: Option<(TagOperation, &[String])>,
) -> Result<SetPlan, DbErr> {
    let total = i64::try_from(contacts.len()).unwrap_or(i64::MAX);
    let mut plan = SetPlan { total, ..SetPlan::default() };
    let (mut left_out, mut seen) = (LeftOut::default(), HashSet::new());
    for page in contacts.as_slice().chunks(PAGE) {
        let found = lookup(conn, page).await?;
        let ids: Vec<i64> = found.values().map(|sample| sample.contact.0).collect();
        let mut has = match tags {
            Some(_) => tags_of(conn, &ids).await?,
            None => HashMap::new(),
        };
        for contact in page {
            let Some(sample) = found.get(contact) else {
                left_out.add("contact_not_found", contact.to_string());
                continue;
            };
            if !seen.insert(sample.contact.0) {
                left_out.add("duplicate", contact.to_string());
                continue;
            }
            let mut sample = sample.clone();
            if let Some((operation, tags)) = tags {
                let before = has.remove(&sample.contact.0).unwrap_or_default();
                let after = changed(&before, operation, tags);
                if after == before {
                    plan.unchanged += 1;
                    continue;
                }
                (sample.before, sample.after) = (Some(before.into_iter().collect()), Some(after.into_iter().collect()));
            }
            plan.changed += 1;
            if plan.samples.len() < SAMPLES {
                plan.samples.push(sample);
            }
        }
    }
    plan.excluded = left_out.list();
    Ok(plan)
}

fn changed(before: &BTreeSet<String>, operation: TagOperation, tags: &[String]) -> BTreeSet<String> {
    let tags: BTreeSet<String> = tags.iter().cloned().collect();
    match operation {
        TagOperation::Add => before | &tags,
        TagOperation::Remove => before - &tags,
        TagOperation::Set => tags,
    }
}

/// Contacts as a request names them, without a lock: nothing is done to them.
async fn lookup(conn: &impl ConnectionTrait, refs: &[ContactRef]) -> Result<HashMap<ContactRef, SetSample>, DbErr> {
    let lookup = Lookup { columns: "id, phone, name", deleted: false, merged: true, locked: false };
    lookup.find_as(conn, refs.iter()).await
}

async fn tags_of(conn: &impl ConnectionTrait, ids: &[i64]) -> Result<HashMap<i64, BTreeSet<String>>, DbErr> {
    let sql = format!(
        "SELECT ct.contact_id AS id, t.name AS name FROM contact_tags ct JOIN tags t ON t.id = ct.tag_id
         WHERE ct.contact_id {}",
        Dialect::of(conn).one_of(1, "bigint")
    );
    let mut tags: HashMap<i64, BTreeSet<String>> = HashMap::new();
    for (contact, tag) in db::values(conn, sql, [json!(ids).to_string().into()]).await? {
        tags.entry(contact).or_default().insert(tag);
    }
    Ok(tags)
}

//! What dry runs of sends, of changes of tags and of deletions tell.

use super::LimitedBy;
use crate::foundation::time::Time;
use domain::batches::{Excluded, SendPlan, SendSample, SetPlan, SetSample, Warning};
use domain::contacts::phone::mask_digits;
use poem_openapi::Object;

/// Contacts that would be left out, and why.
#[derive(Debug, Object)]
pub(crate) struct ExcludedView {
    /// The `errorCode` that their items would have.
    reason: String,
    /// How many.
    #[oai(validator(minimum(value = "0")))]
    count: i64,
    /// The first of them: their ids, or what the request called them.
    samples: Vec<String>,
}

/// One of the messages.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SendSampleView {
    /// Who.
    contact_id: String,
    /// The number; masked for who may not read contacts.
    phone: String,
    /// What they would read.
    text: String,
}

/// Something to know that is no error.
#[derive(Debug, Object)]
pub(crate) struct WarningView {
    /// A stable word: `nobody`, `rendered_partly`, `rate_above_sender`, `sender_stopped`, `sender_cap`, `sender_circuit`,
    /// `sender_busy`, `others_at_work`, `approval`, `batch_paused`.
    code: String,
    /// For people.
    message: String,
}

/// What a send would do.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SendPlanView {
    /// True.
    dry_run: bool,
    /// How many would get it; who is excluded is not among them.
    #[oai(validator(minimum(value = "0")))]
    recipients: i64,
    /// Who would not, by reason.
    excluded: Vec<ExcludedView>,
    /// When the first would leave.
    starts_at: Time,
    /// When the last would leave, without jitter and if nothing else takes the sender's pace; null where nothing of ours
    /// limits the pace.
    ends_at: Option<Time>,
    /// The same with all of the last one's jitter.
    ends_at_latest: Option<Time>,
    /// What says how fast it goes.
    limited_by: LimitedBy,
    /// Some of its messages.
    samples: Vec<SendSampleView>,
    /// What to know.
    warnings: Vec<WarningView>,
}

/// A contact that would change.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SetSampleView {
    /// Who.
    contact_id: String,
    /// The number; masked for who may not read contacts.
    phone: Option<String>,
    /// The name; absent for who may not read contacts.
    name: Option<String>,
    /// For a change of tags: those it has.
    tags_before: Option<Vec<String>>,
    /// For a change of tags: those it would have.
    tags_after: Option<Vec<String>>,
}

/// What a change of tags or a deletion would do.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SetPlanView {
    /// True.
    dry_run: bool,
    /// How many contacts were named, each id counted once.
    #[oai(validator(minimum(value = "0")))]
    total_count: i64,
    /// How many would change, or be deleted.
    #[oai(validator(minimum(value = "0")))]
    change_count: i64,
    /// How many have the tags that they would get already.
    #[oai(validator(minimum(value = "0")))]
    unchanged_count: i64,
    /// Which would not be touched, by reason: unknown ids are `contact_not_found`.
    excluded: Vec<ExcludedView>,
    /// Some of those that would change.
    samples: Vec<SetSampleView>,
}

impl From<Excluded> for ExcludedView {
    fn from(excluded: Excluded) -> Self {
        Self { reason: excluded.reason.to_owned(), count: excluded.count, samples: excluded.samples }
    }
}

impl From<Warning> for WarningView {
    fn from(warning: Warning) -> Self {
        Self { code: warning.code.to_owned(), message: warning.message }
    }
}

impl SendPlanView {
    /// `whole`: whether numbers are shown in full.
    pub(crate) fn of(plan: SendPlan, whole: bool) -> Self {
        let sample = |SendSample { contact, phone, text }| SendSampleView {
            contact_id: contact.to_string(),
            phone: if whole { phone } else { mask_digits(&phone) },
            text,
        };
        Self {
            dry_run: true,
            recipients: plan.recipients,
            excluded: plan.excluded.into_iter().map(Into::into).collect(),
            starts_at: Time(plan.starts_at),
            ends_at: plan.ends_at.map(Time),
            ends_at_latest: plan.ends_at_latest.map(Time),
            limited_by: plan.limited_by.into(),
            samples: plan.samples.into_iter().map(sample).collect(),
            warnings: plan.warnings.into_iter().map(Into::into).collect(),
        }
    }
}

impl SetPlanView {
    /// `whole`: whether names and numbers are shown in full.
    pub(crate) fn of(plan: SetPlan, whole: bool) -> Self {
        let sample = |SetSample { contact, phone, name, before, after }| SetSampleView {
            contact_id: contact.to_string(),
            phone: phone.map(|phone| if whole { phone } else { mask_digits(&phone) }),
            name: name.filter(|_| whole),
            tags_before: before,
            tags_after: after,
        };
        Self {
            dry_run: true,
            total_count: plan.total,
            change_count: plan.changed,
            unchanged_count: plan.unchanged,
            excluded: plan.excluded.into_iter().map(Into::into).collect(),
            samples: plan.samples.into_iter().map(sample).collect(),
        }
    }
}

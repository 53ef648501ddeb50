//! `/console/new/send`: a send, from whom it is for to the forecast and the button.
//!
//! The form is checked first: the same page comes back with what the send would do, and with the button that does it. A send
//! that is to start now starts [`UNDO`] later, so that whoever pressed too soon can take it back.

use super::Wrong;
use super::making::{self, UNDO};
use super::who::Who;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::Timestamp;
use domain::batches::{self, BatchType, CreateError, LimitedBy, NewSend, Recipients, SendPlan, Staged};
use domain::contacts::phone;
use domain::messages::template::{MAX_CHARS, Template as Text};
use domain::messages::templates::{self, StoredTemplate};
use poem::Response;
use poem::http::{Method, StatusCode};

/// How many templates can be chosen from.
const TEMPLATES: u64 = 200;

/// The form as it was filled in.
#[derive(Clone, Debug, Default)]
struct Draft {
    to: Who,
    template: String,
    content: String,
    rate: String,
    jitter: String,
    /// A local time without a zone, and the minutes of its zone before UTC.
    at: String,
    offset: String,
    /// Names the send, so that it is done once.
    once: String,
}

#[derive(Template)]
#[template(path = "pages/new_send.html")]
struct Page {
    ui: Ui,
    draft: Draft,
    templates: Vec<StoredTemplate>,
    wrong: Vec<Wrong>,
    plan: Option<Plan>,
}

/// What the send would do, as it is shown.
struct Plan {
    plan: SendPlan,
    limited_by: &'static str,
    /// Number and text of some recipients.
    samples: Vec<(String, String)>,
}

impl Draft {
    /// What the form says, in short.
    fn seal(&self) -> String {
        let Self { to, template, content, rate, jitter, at, offset, once } = self;
        let own = [template, content, rate, jitter, at, offset, once].map(String::as_str);
        making::seal(to.parts().into_iter().chain(own))
    }
}

impl Page {
    /// How a text names what is known of a recipient.
    fn example(&self) -> &'static str {
        "{{ name | default(\"there\") }}"
    }

    fn chosen(&self, template: &StoredTemplate) -> bool {
        self.draft.template == template.id.to_string()
    }
}

/// The form, its check, or the send.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        let draft = Draft { to: Who::fresh(&context), once: making::fresh(), ..Draft::default() };
        return page(&context, draft, Vec::new(), None).await;
    }
    let draft = draft(&context);
    let new = match read(&context, &draft).await? {
        Ok(new) => new,
        Err(wrong) => return page(&context, draft, wrong, None).await,
    };
    let seal = draft.seal();
    if context.form("act") == Some("send") && context.form("checked") == Some(seal.as_str()) {
        return send(&context, draft, new).await;
    }
    let sees_phones = context.viewer()?.sees_phones();
    let configured = context.app.settings.sender_rate_per_minute;
    match batches::plan_send(context.app.db.read(), context.ui.now, &new, configured).await {
        Ok(plan) => page(&context, draft, Vec::new(), Some(shown(plan, sees_phones))).await,
        Err(error) => page(&context, draft, vec![refused(error)?], None).await,
    }
}

fn draft(context: &Context) -> Draft {
    let text = |name: &str| context.form(name).unwrap_or_default().trim().to_owned();
    Draft {
        to: Who::read(context),
        template: text("template"),
        // Browsers send line ends as forms have them.
        content: text("content").replace("\r\n", "\n"),
        rate: text("rate"),
        jitter: text("jitter"),
        at: text("at"),
        offset: text("offset"),
        once: text("once"),
    }
}

async fn page(context: &Context, draft: Draft, wrong: Vec<Wrong>, plan: Option<Plan>) -> Result<Response, Fault> {
    let (templates, _) = templates::list(context.app.db.read(), TEMPLATES, 0).await?;
    let refused = !wrong.is_empty();
    let page = Page { ui: context.ui.clone(), draft, templates, wrong, plan };
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    Ok(response)
}

fn shown(plan: SendPlan, sees_phones: bool) -> Plan {
    let number = |phone: &str| if sees_phones { phone.to_owned() } else { phone::mask_digits(phone) };
    Plan {
        limited_by: match plan.limited_by {
            LimitedBy::Batch => "limited-by-batch",
            LimitedBy::Sender => "limited-by-sender",
            LimitedBy::Gateway => "limited-by-gateway",
        },
        samples: plan.samples.iter().map(|one| (number(&one.phone), one.text.clone())).collect(),
        plan,
    }
}

/// What the domain refuses, as the form says it.
fn refused(error: CreateError) -> Result<Wrong, Fault> {
    match error {
        CreateError::EmptyAudience => Ok(("send-nobody", String::new())),
        CreateError::Database(error) => Err(error.into()),
        other => Ok(("send-refused", other.to_string())),
    }
}

/// Reads the form; what is wrong with it is told all at once.
async fn read(context: &Context, draft: &Draft) -> Result<Result<NewSend, Vec<Wrong>>, Fault> {
    let mut wrong = Vec::new();
    let recipients = draft.to.recipients(context, &mut wrong).await?;
    let mut new = NewSend::new(draft.content.clone(), recipients);
    if draft.template.is_empty() {
        match Text::parse(&draft.content) {
            _ if draft.content.is_empty() => wrong.push(("send-no-text", String::new())),
            _ if draft.content.chars().count() > MAX_CHARS => wrong.push(("send-long-text", MAX_CHARS.to_string())),
            Err(error) => wrong.push(("send-bad-text", error.to_string())),
            Ok(_) => {}
        }
    } else {
        new.content = None;
        match draft.template.parse() {
            Ok(id) => new.template = Some(id),
            Err(_) => wrong.push(("bad-choice", draft.template.clone())),
        }
    }
    new.rate_per_minute = whole(&draft.rate, 1, "bad-rate", &mut wrong);
    let jitter = whole(&draft.jitter, 0, "bad-jitter", &mut wrong).filter(|secs| {
        let fine = *secs <= 600;
        if !fine {
            wrong.push(("bad-jitter", draft.jitter.clone()));
        }
        fine
    });
    new.jitter_ms = jitter.unwrap_or(0).saturating_mul(1_000);
    new.schedule_at = at(draft, context.ui.now, &mut wrong);
    Ok(if wrong.is_empty() { Ok(new) } else { Err(wrong) })
}

/// A whole number of at most 600,000; nothing where nothing is given.
fn whole(text: &str, least: u32, key: &'static str, wrong: &mut Vec<Wrong>) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let number: Option<u32> = text.parse().ok().filter(|number| (least..=600_000).contains(number));
    if number.is_none() {
        wrong.push((key, text.to_owned()));
    }
    number
}

/// The time that a form names: local, with the minutes of its zone before UTC.
fn at(draft: &Draft, now: Timestamp, wrong: &mut Vec<Wrong>) -> Option<Timestamp> {
    if draft.at.is_empty() {
        return None;
    }
    let seconds = if draft.at.len() == "2026-01-01T09:00".len() { ":00" } else { "" };
    let local = Timestamp::parse_rfc3339(&format!("{}{seconds}Z", draft.at)).ok();
    let offset = match draft.offset.as_str() {
        "" => Some(0),
        text => text.parse::<i64>().ok().filter(|minutes| minutes.abs() <= 24 * 60),
    };
    let at = local.zip(offset).map(|(local, minutes)| Timestamp(local.0.saturating_add(minutes * 60_000)));
    match at {
        Some(at) if at >= now.minus(batches::SCHEDULE_SLACK) => Some(at),
        Some(_) => {
            wrong.push(("send-past", draft.at.clone()));
            None
        }
        None => {
            wrong.push(("bad-time", draft.at.clone()));
            None
        }
    }
}

/// Does the send.
async fn send(context: &Context, draft: Draft, mut new: NewSend) -> Result<Response, Fault> {
    let seal = draft.seal();
    let made = making::once(context, &draft.once, &seal, async |now, user| {
        new.schedule_at.get_or_insert(now.plus(UNDO));
        let (app, mut staged) = (&context.app, Staged::default());
        staged.count(app.db.read(), &new).await?;
        if let Recipients::Contacts(contacts) = &new.recipients {
            making::stage(context, contacts, BatchType::Send, &mut staged).await?;
        }
        let tx = app.db.begin().await?;
        let step = batches::create_send(&tx, now, user, new, staged).await?;
        Ok::<_, CreateError>((tx, step))
    });
    match made.await? {
        Ok(response) => Ok(response),
        Err(error) => page(context, draft, vec![refused(error)?], None).await,
    }
}

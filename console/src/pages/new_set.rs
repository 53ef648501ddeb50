//! `/console/new/tags` and `/console/new/delete`: what is done to contacts without a message, from whom it is for to the dry
//! run and the button.
//!
//! A deletion is begun [`UNDO`] after its button, and asks for the number of contacts to be typed: it is compared with what
//! would be deleted at that moment, so that a list which grew meanwhile is not deleted unseen.

use super::Wrong;
use super::making::{self, Made, UNDO};
use super::new_send::refused;
use super::who::{Who, tags_of};
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, BatchType, ContactRefs, CreateError, NewTag, SetPlan, Staged, TagOperation};
use domain::contacts::phone;
use poem::Response;
use poem::http::{Method, StatusCode};

/// The form as it was filled in.
#[derive(Clone, Debug, Default)]
struct Draft {
    to: Who,
    operation: String,
    tags: String,
    /// How many contacts whoever deletes them says that there are.
    typed: String,
    once: String,
}

/// A contact that would change: number, name, and tags before and after.
struct Sample {
    phone: String,
    name: String,
    before: String,
    after: String,
}

/// What it would do, as it is shown.
struct Shown {
    plan: SetPlan,
    samples: Vec<Sample>,
}

#[derive(Template)]
#[template(path = "pages/new_set.html")]
struct Page {
    ui: Ui,
    /// Whether contacts are deleted; else their tags are changed.
    delete: bool,
    draft: Draft,
    operations: &'static [TagOperation],
    wrong: Vec<Wrong>,
    plan: Option<Shown>,
}

impl Draft {
    /// What was checked: all but the number that is typed after it.
    fn seal(&self) -> String {
        let own = [&self.operation, &self.tags, &self.once].map(String::as_str);
        making::seal(self.to.parts().into_iter().chain(own))
    }
}

impl Page {
    fn chosen(&self, operation: &TagOperation) -> bool {
        self.draft.operation == operation.as_str()
    }
}

/// What is to be done with whom.
enum Wanted {
    Tag(NewTag),
    Delete(ContactRefs),
}

/// The form of tags, its check, or the change.
pub(crate) async fn tags(context: Context) -> Result<Response, Fault> {
    either(context, false).await
}

/// The form of a deletion, its check, or the deletion.
pub(crate) async fn delete(context: Context) -> Result<Response, Fault> {
    either(context, true).await
}

async fn either(context: Context, delete: bool) -> Result<Response, Fault> {
    if context.method != Method::POST {
        let to = Who::fresh(&context);
        let draft = Draft { to, operation: "add".into(), once: making::fresh(), ..Draft::default() };
        return Ok(page(&context, delete, draft, Vec::new(), None));
    }
    let text = |name: &str| context.form(name).unwrap_or_default().trim().to_owned();
    let draft = Draft {
        to: Who::read(&context),
        operation: text("operation"),
        tags: text("tags"),
        typed: text("typed").replace([',', ' '], ""),
        once: text("once"),
    };
    let mut wrong = Vec::new();
    let wanted = read(&context, delete, &draft, &mut wrong).await?;
    if !wrong.is_empty() {
        return Ok(page(&context, delete, draft, wrong, None));
    }
    let db = context.app.db.read();
    let plan = match &wanted {
        Wanted::Tag(new) => batches::plan_tag(db, new).await?,
        Wanted::Delete(contacts) => batches::plan_delete(db, contacts).await?,
    };
    let checked = context.form("checked") == Some(draft.seal().as_str());
    if context.form("act") != Some("do") || !checked {
        return Ok(page(&context, delete, draft, wrong, Some(plan)));
    }
    if delete && draft.typed != plan.changed.to_string() {
        wrong.push(("delete-typed", plan.changed.to_string()));
        return Ok(page(&context, delete, draft, wrong, Some(plan)));
    }
    act(&context, delete, draft, wanted).await
}

async fn read(context: &Context, delete: bool, draft: &Draft, wrong: &mut Vec<Wrong>) -> Result<Wanted, Fault> {
    if delete && draft.to.is("all") {
        wrong.push(("bad-choice", draft.to.who.clone()));
    }
    let tags = if delete { Vec::new() } else { tags_of(&draft.tags, wrong) };
    let operation = TagOperation::ALL.iter().find(|one| one.as_str() == draft.operation).copied();
    match operation {
        None if !delete => wrong.push(("bad-choice", draft.operation.clone())),
        // Setting no tags takes all away; adding or taking away none does nothing.
        Some(TagOperation::Add | TagOperation::Remove) if !delete && tags.is_empty() && draft.tags.is_empty() => {
            wrong.push(("send-no-tags", String::new()));
        }
        _ => {}
    }
    let contacts = draft.to.contacts(context, wrong).await?;
    Ok(match (delete, operation) {
        (false, Some(operation)) => Wanted::Tag(NewTag { contacts, tags, operation }),
        (true, _) | (false, None) => Wanted::Delete(contacts),
    })
}

fn page(context: &Context, delete: bool, draft: Draft, wrong: Vec<Wrong>, plan: Option<SetPlan>) -> Response {
    let sees = context.viewer.as_ref().is_some_and(|viewer| viewer.sees_phones());
    let number = |phone: &str| if sees { format!("+{phone}") } else { phone::mask_digits(phone) };
    let tags = |tags: &Option<Vec<String>>| tags.as_ref().map(|tags| tags.join(", ")).unwrap_or_default();
    let sample = |one: &batches::SetSample| Sample {
        phone: one.phone.as_deref().map(number).unwrap_or_default(),
        name: one.name.clone().unwrap_or_default(),
        before: tags(&one.before),
        after: tags(&one.after),
    };
    let plan = plan.map(|plan| Shown { samples: plan.samples.iter().map(sample).collect(), plan });
    let refused = !wrong.is_empty();
    let page = Page { ui: context.ui.clone(), delete, draft, operations: TagOperation::ALL, wrong, plan };
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    response
}

async fn act(context: &Context, delete: bool, draft: Draft, wanted: Wanted) -> Result<Response, Fault> {
    let seal = draft.seal();
    let made = making::once(context, &draft.once, &seal, async |now, user| {
        let (app, mut staged) = (&context.app, Staged::default());
        let step = match wanted {
            Wanted::Tag(new) => {
                making::stage(context, &new.contacts, BatchType::Tag, &mut staged).await?;
                let tx = app.db.begin().await?;
                let step = batches::create_tag(&tx, now, user, new, staged).await?;
                (tx, step)
            }
            Wanted::Delete(contacts) => {
                making::stage(context, &contacts, BatchType::Delete, &mut staged).await?;
                let tx = app.db.begin().await?;
                let at = Some(now.plus(UNDO));
                let step = batches::create_delete_at(&tx, now, user, contacts, at, staged).await?;
                (tx, step)
            }
        };
        Ok::<_, CreateError>(step)
    });
    match made.await? {
        Made::Accepted(response) => Ok(response),
        Made::Refused(CreateError::Database(error)) => Err(error.into()),
        Made::Refused(other) => Ok(page(context, delete, draft, vec![refused(other)?], None)),
    }
}

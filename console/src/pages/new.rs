//! `/console/new`: what can be begun.

use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use poem::Response;

/// Something that can be begun: its address, its name, what it does, and the permission that it takes.
struct Kind {
    path: &'static str,
    name: &'static str,
    what: &'static str,
    needs: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { path: "/console/new/send", name: "new-send", what: "new-send-what", needs: "batches:write" },
    Kind { path: "/console/new/import", name: "new-import", what: "new-import-what", needs: "contacts:write" },
    Kind { path: "/console/new/tags", name: "new-tags", what: "new-tags-what", needs: "contacts:write" },
    Kind { path: "/console/new/delete", name: "new-delete", what: "new-delete-what", needs: "contacts:delete" },
];

#[derive(Template)]
#[template(path = "pages/new.html")]
struct New {
    ui: Ui,
    kinds: &'static [Kind],
}

/// Shows what the reader may begin.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let page = New { ui: context.ui.clone(), kinds: &KINDS };
    Ok(guard::html(&page.ui, &page))
}

//! The first start: from the one-time password to the overview.

use crate::visitor::{nothing_went_wrong, sign_in, violations};
use support::{Browser, DEADLINE, Program, User};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_good_once_leads_to_a_change_and_nowhere_else() {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"));
    let serve = program.start(&["serve"]).await;
    let told = |line: &str, before: &str| Some(line.split_once(before)?.1.to_owned());
    let console = serve.log().wait_for(DEADLINE, |line| told(line, "the console: ")).expect("its address");
    assert_eq!(console, format!("{}/console", serve.url()));
    let path = serve.log().wait_for(DEADLINE, |line| told(line, "with the password in ")).expect("a password");
    let path = path.split_once(", and choose").expect("the rest").0.to_owned();
    let password = std::fs::read_to_string(program.dir().join(path)).expect("the password");
    let mut admin = User { email: "admin@localhost".into(), password: password.trim().into(), token: String::new() };

    let browser = Browser::start(program.dir()).await;
    let page = browser.page().await;
    page.go(serve.url()).await;
    assert_eq!(page.address().await, "/console/sign-in?next=%2Fconsole");
    page.fill("#email", &admin.email).await;
    page.fill("#password", &admin.password).await;
    page.leading(page.click("form.stack button")).await;
    for path in ["/console", "/console/batches", "/console/account"] {
        page.go(&format!("{}{path}", serve.url())).await;
        assert_eq!(page.address().await, "/console/password", "{path}");
    }
    assert_eq!(violations(&page).await, Vec::<String>::new());
    nothing_went_wrong(&page);

    let token = async || {
        let token = page.eval("document.querySelector('[name=csrf]').value").await;
        crate::security::unmasked(token.as_str().expect("a token"))
    };
    let before = token().await;
    let change = async |current: &str, new: &str, again: &str| {
        page.fill("#current_password", current).await;
        page.fill("#new_password", new).await;
        page.fill("#again", again).await;
        page.leading(page.click("form.stack button")).await;
    };
    let once = admin.password.as_str();
    for (current, new, again, words) in [
        ("wrong password", "a new password", "a new password", "present password is wrong"),
        (once, "a new password", "another password", "differ"),
        (once, once, once, "is the present one"),
    ] {
        change(current, new, again).await;
        assert!(page.text("#wrong").await.contains(words), "{words}");
    }
    // The browser tells of each answer that refuses.
    assert_eq!(page.problems().iter().filter(|problem| !problem.contains("status of 400")).count(), 0);
    change(once, "a new password", "a new password").await;
    assert_eq!(page.address().await, "/console?done=password");
    assert!(page.text("main").await.contains("The password is changed."));
    assert!(page.text("main").await.contains("There is no batch yet."));
    assert_ne!(token().await, before, "the session has a new name");
    nothing_went_wrong(&page);

    let other = browser.page().await;
    admin.password = "a new password".into();
    sign_in(&other, serve.url(), &admin).await;
    other.go(&format!("{}/console/account", serve.url())).await;
    other.leading(other.click("button.danger")).await;
    page.go(&format!("{}/console/batches", serve.url())).await;
    assert_eq!(page.address().await, "/console/sign-in?next=%2Fconsole%2Fbatches");
    page.fill("#email", &admin.email).await;
    page.fill("#password", &admin.password).await;
    page.leading(page.key("Enter")).await;
    assert_eq!(page.address().await, "/console/batches");
    nothing_went_wrong(&page);
    nothing_went_wrong(&other);
}

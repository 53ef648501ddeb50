//! What a frontend gets from the contracts: types of every served OpenAPI document, which compile as strictly as
//! TypeScript can, and say what the answers are; and an AsyncAPI document that AsyncAPI's own schema takes.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use support::Program;

/// A frontend's use of the types: what it writes must compile.
const USE: &str = r#"
import type { paths as Batch } from "./batch";
import type { paths as Crm } from "./crm";
import type { paths as Desk } from "./support-desk";
import type { paths as Gateway } from "./gateway";
import type { paths as All } from "./all";

type Body<R> = R extends { content: infer C } ? C[keyof C] : never;
type Customers = Body<Crm["/customers/summary"]["get"]["responses"]["200"]>;
type Reply = Body<NonNullable<Crm["/messages/send"]["post"]["requestBody"]>>;
type Suppressions = Body<Batch["/suppressions"]["get"]["responses"]["200"]>;
type Send = Body<NonNullable<Gateway["/send"]["post"]["requestBody"]>>;
type Status = Body<Gateway["/status"]["get"]["responses"]["200"]>;
type Everything = Body<All["/customers/summary"]["get"]["responses"]["200"]>;
type SignedIn = Body<Desk["/api/v1/auth/login"]["post"]["responses"]["200"]>;

const unread = (list: Customers): number => list.reduce((sum, one) => sum + one.unread_count, 0);
const unreadOfAll = (list: Everything): number => unread(list);
const reply: Reply = { customer_id: 1, content: "Hello" };
const numbers = (answer: Suppressions): string[] => answer.data.map(row => row.phone);
const token = (answer: SignedIn): string => answer.data.token;
const send: Send = { to: "60123456789", message: "Hello", backend_message_id: 17 };
const ready = (answer: Status): boolean => answer.ready && !answer.need_qr;
export { unread, unreadOfAll, reply, numbers, token, send, ready };
"#;

/// What must not compile: a type that is `any` would take it.
const MISUSE: &str = r#"
import type { paths as Crm } from "./crm";
type Body<R> = R extends { content: infer C } ? C[keyof C] : never;
type Reply = Body<NonNullable<Crm["/messages/send"]["post"]["requestBody"]>>;
export const reply: Reply = { customer_id: "one", content: "Hello" };
"#;

/// Where npm put the programs.
fn tools() -> PathBuf {
    PathBuf::from(std::env::var_os("PACELINE_TEST_TYPE_TOOLS").expect("set by `cargo xtask test`"))
}

async fn tool(name: &str, dir: &Path, args: &[&str]) -> Output {
    tokio::process::Command::new(tools().join(name))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: openapi-typescript and tsc"]
async fn the_documents_make_types_that_compile() {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"));
    let paceline = program.start(&["serve"]).await;
    let dir = program.dir();
    // Whatever is served: one that is added is tried from then on.
    let page = paceline.client().get("/docs").await.text;
    let names: BTreeSet<&str> = page
        .split("/docs/")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '-').next())
        .collect();
    assert!(names.is_superset(&["batch", "crm", "support-desk"].into()), "{names:?}");
    let mut documents: Vec<(&str, Value)> = Vec::new();
    for name in names {
        documents.push((name, paceline.client().get(&format!("/openapi/{name}.json")).await.expect(200)));
    }
    documents.push(("all", paceline.client().get("/openapi.json").await.expect(200)));
    // The gateway is a process of its own.
    let gateway = program.elsewhere();
    let gateway = gateway.env("PACELINE_GATEWAY_LISTEN", "127.0.0.1:0").env("PACELINE_GATEWAY_SECRET", "a secret");
    let gateway = gateway.start(&["gateway"]).await;
    documents.push(("gateway", gateway.client().get("/openapi.json").await.expect(200)));
    for (name, document) in documents {
        let (from, to) = (format!("{name}.json"), format!("{name}.ts"));
        std::fs::write(dir.join(&from), document.to_string()).expect("written");
        let made = tool("openapi-typescript", dir, &[&from, "--output", &to]).await;
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    }
    std::fs::write(dir.join("use.ts"), USE).expect("written");
    std::fs::write(dir.join("misuse.ts"), MISUSE).expect("written");
    let strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"];
    let compiled = tool("tsc", dir, &[&strict[..], &["use.ts"]].concat()).await;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    let refused = tool("tsc", dir, &[&strict[..], &["misuse.ts"]].concat()).await;
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("misuse.ts(5"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: AsyncAPI's schema is installed by npm"]
async fn what_is_pushed_is_described_as_asyncapi_has_it() {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"));
    let paceline = program.start(&["serve"]).await;
    let document = paceline.client().get("/asyncapi.json").await.expect(200);
    let schema = tools().join("../@asyncapi/specs/schemas/3.0.0-without-$id.json");
    let schema = serde_json::from_slice(&std::fs::read(schema).expect("installed")).expect("JSON");
    let schema = jsonschema::draft7::new(&schema).expect("a schema");
    let wrong: Vec<String> =
        schema.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

//! Who may import whom. The dependencies in the manifests are the architecture; this test is what keeps them so.
//!
//! `domain` holds the rules and must be testable without a server, so no transport reaches it. `api`, `worker` and
//! `scheduler` are processes that share nothing but the domain and the backplane, so none knows another. The surfaces of
//! the API are contracts with different clients, so none borrows from another, and what they stand on knows none of them.
//!
//! Within `domain` the modules are layers: a circle between two of them would make one of both.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may import of ours. A crate that is not here has no place yet: give it one.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("paceline-entities", &[]),
    ("paceline-migration", &[]),
    // Marks of where a test may let a process fail: everywhere, and nothing at all in a release.
    ("paceline-faults", &[]),
    // The gate before every HTTP server of ours.
    ("paceline-listener", &[]),
    ("paceline-gateway", &["paceline-faults", "paceline-listener"]),
    ("paceline-domain", &["paceline-entities", "paceline-faults"]),
    ("paceline-backplane", &["paceline-domain", "paceline-faults"]),
    ("paceline-worker", &["paceline-domain", "paceline-backplane", "paceline-gateway", "paceline-faults"]),
    ("paceline-scheduler", &["paceline-domain", "paceline-backplane", "paceline-faults"]),
    (
        "paceline-api",
        &["paceline-domain", "paceline-backplane", "paceline-gateway", "paceline-listener", "paceline-faults"],
    ),
    ("paceline-store", &["paceline-domain", "paceline-migration"]),
    // What is measured and tried are processes; only what has one clock at both ends is measured within this one.
    (
        "paceline-bench",
        &[
            "paceline-backplane",
            "paceline-domain",
            "paceline-gateway",
            "paceline-scheduler",
            "paceline-store",
            "paceline-worker",
        ],
    ),
    ("paceline-console", &["paceline-domain", "paceline-backplane", "paceline-faults"]),
    (
        "paceline",
        &[
            "paceline-api",
            "paceline-backplane",
            "paceline-bench",
            "paceline-console",
            "paceline-domain",
            "paceline-entities",
            "paceline-faults",
            "paceline-gateway",
            "paceline-migration",
            "paceline-scheduler",
            "paceline-store",
            "paceline-worker",
        ],
    ),
    ("paceline-test-servers", &[]),
    ("paceline-test-support", &["paceline-test-servers"]),
    ("xtask", &["paceline-test-servers"]),
];

/// What a crate never imports, not even in its tests.
const NEVER: &[(&str, &[&str])] = &[
    ("paceline-bench", &["paceline-api"]),
    ("paceline-entities", &["poem", "poem-openapi", "apalis", "apalis-core", "redis", "reqwest"]),
    ("paceline-domain", &["poem", "poem-openapi", "apalis", "apalis-core", "redis", "reqwest"]),
    ("paceline-backplane", &["poem", "poem-openapi", "apalis", "apalis-core", "reqwest"]),
    ("paceline-migration", &["paceline-entities"]),
    ("paceline-api", &["paceline-worker", "paceline-scheduler", "paceline-console", "apalis", "apalis-core", "redis"]),
    (
        "paceline-console",
        &["paceline-api", "paceline-worker", "paceline-scheduler", "apalis", "apalis-core", "redis", "reqwest"],
    ),
    ("paceline-worker", &["paceline-api", "paceline-scheduler", "poem", "poem-openapi"]),
    ("paceline-scheduler", &["paceline-api", "paceline-worker", "poem", "poem-openapi", "apalis", "apalis-core"]),
];

/// The surfaces of the API, as its modules are called.
const SURFACES: [&str; 4] = ["admin_chat", "batch", "crm", "support_desk"];

#[derive(Debug)]
struct Dependency {
    name: String,
    /// For the tests of the crate alone: there, all of ours may be imported but what is never.
    dev: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crates of the workspace and what their manifests say, in every section.
fn workspace() -> BTreeMap<String, Vec<Dependency>> {
    let out = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("an array").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .map(|it| Dependency { name: text(&it["name"]), dev: it["kind"] == "dev" })
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

/// Everything that is against the rules, as sentences.
fn offences(workspace: &BTreeMap<String, Vec<Dependency>>) -> Vec<String> {
    let may_import: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let never: BTreeMap<_, _> = NEVER.iter().copied().collect();
    let mut offences = Vec::new();
    for (krate, dependencies) in workspace {
        let Some(allowed) = may_import.get(krate.as_str()) else {
            offences.push(format!("{krate} has no place in the layers"));
            continue;
        };
        let forbidden = never.get(krate.as_str()).copied().unwrap_or_default();
        for dependency in dependencies {
            let name = dependency.name.as_str();
            let ours = workspace.contains_key(name);
            if forbidden.contains(&name) || (ours && !dependency.dev && !allowed.contains(&name)) {
                offences.push(format!("{krate} must not import {name}"));
            }
        }
    }
    offences
}

#[test]
fn crates_import_only_what_their_layer_may() {
    let workspace = workspace();
    for (krate, _) in MAY_IMPORT {
        assert!(workspace.contains_key(*krate), "{krate} is gone: take it out of the rules");
    }
    let offences = offences(&workspace);
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn an_import_against_the_rules_is_found() {
    let dependency = |name: &str, dev| vec![Dependency { name: name.to_owned(), dev }];
    let with = |krate: &str, dependencies| {
        let mut workspace: BTreeMap<String, Vec<Dependency>> =
            MAY_IMPORT.iter().map(|(krate, _)| ((*krate).to_owned(), Vec::new())).collect();
        workspace.insert(krate.to_owned(), dependencies);
        offences(&workspace)
    };
    assert_eq!(with("paceline-domain", dependency("redis", false)), ["paceline-domain must not import redis"]);
    assert_eq!(with("paceline-domain", dependency("reqwest", true)), ["paceline-domain must not import reqwest"]);
    assert_eq!(
        with("paceline-api", dependency("paceline-worker", true)),
        ["paceline-api must not import paceline-worker"]
    );
    assert_eq!(
        with("paceline-entities", dependency("paceline-domain", false)),
        ["paceline-entities must not import paceline-domain"]
    );
    assert_eq!(with("paceline-new", Vec::new()), ["paceline-new has no place in the layers"]);
    assert!(with("paceline-domain", dependency("paceline-migration", true)).is_empty(), "its tests need a schema");
}

/// Every Rust file below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The surface to which a file below `api/src/surface` belongs, if any: `crm.rs` or anything in `crm/`.
fn surface_of(file: &Path, dir: &Path) -> Option<&'static str> {
    let first = file.strip_prefix(dir).ok()?.components().next()?;
    let name = Path::new(first.as_os_str()).file_stem()?.to_str()?;
    SURFACES.iter().copied().find(|surface| *surface == name)
}

/// Whether the source reaches into a module of this name beside its own.
fn mentions(source: &str, other: &str) -> bool {
    ["surface::", "super::"].iter().any(|parent| {
        source.match_indices(&format!("{parent}{other}")).any(|(at, found)| {
            // `surface::crm_extra` is another module.
            let next = source.get(at + found.len()..).and_then(|rest| rest.chars().next());
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn no_surface_borrows_from_another() {
    let dir = root().join("api/src/surface");
    let files = sources(&dir);
    let present: BTreeSet<&str> = files.iter().filter_map(|file| surface_of(file, &dir)).collect();
    assert_eq!(present, BTreeSet::from(SURFACES), "the surfaces below {}", dir.display());
    for file in &files {
        let Some(own) = surface_of(file, &dir) else { continue };
        let source = fs::read_to_string(file).expect("a source is readable");
        for other in SURFACES.into_iter().filter(|other| *other != own) {
            assert!(!mentions(&source, other), "{} borrows from the surface {other}", file.display());
        }
    }
}

#[test]
fn a_borrowed_module_is_found() {
    assert!(mentions("use crate::surface::crm::wire;", "crm"));
    assert!(mentions("use super::super::crm;", "crm"));
    assert!(!mentions("use crate::surface::crm_extra::wire;", "crm"));
    assert!(!mentions("use domain::crm::rule;", "crm"));
}

/// What stands below the surfaces.
const BELOW_THE_SURFACES: [&str; 3] = ["docs", "foundation", "realtime"];

/// The source without its comments and without the tests at its end.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The names at the root of the crate that a source reaches for, by `crate::` or by as many `super::` as it is deep.
fn reached(source: &str, depth: usize) -> BTreeSet<String> {
    let code = code(source);
    let root = ["crate::".to_owned(), "super::".repeat(depth)];
    let mut names = BTreeSet::new();
    for prefix in root {
        for (at, _) in code.match_indices(&prefix) {
            // `domain::crate::` is no path, and `super::super::` reaches further than its second half.
            let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if begins {
                names.extend(first_names(&code[at + prefix.len()..]));
            }
        }
    }
    names
}

/// The first name of a path, or those of each path in braces.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut deep, mut begins) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => deep += 1,
            '}' if deep == 0 => break,
            '}' => deep -= 1,
            ',' if deep == 0 => begins = true,
            _ if c.is_whitespace() => {}
            _ => {
                if begins {
                    names.push(name(&group[at..]));
                }
                begins = false;
            }
        }
    }
    names
}

/// The module at the root of the crate to which a file belongs, and how deep it is in there: 1 for the module itself.
/// `None`: the root, or a file of tests.
fn place(file: &Path, src: &Path) -> Option<(String, usize)> {
    let inner = file.strip_prefix(src).expect("a file of the crate").with_extension("");
    let mut path: Vec<&str> = inner.iter().map(|part| part.to_str().expect("a name")).collect();
    if path.last() == Some(&"mod") {
        path.pop();
    }
    match path.as_slice() {
        ["lib"] | [.., "tests"] => None,
        [module, ..] => Some(((*module).to_owned(), path.len())),
        [] => None,
    }
}

/// Which modules of a crate import which. What the root passes on counts as the module that it is from.
fn modules(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let files = sources(src);
    let placed: Vec<_> = files.iter().filter_map(|file| Some((file, place(file, src)?))).collect();
    let names: BTreeSet<String> = placed.iter().map(|(_, (module, _))| module.clone()).collect();
    let read = |file: &Path| fs::read_to_string(file).expect("a source is readable");
    let root = code(&read(&src.join("lib.rs")));
    let passed_on: BTreeMap<String, String> = root
        .split("pub use ")
        .skip(1)
        .filter_map(|path| path.split_once("::"))
        .flat_map(|(module, items)| first_names(items).into_iter().map(move |item| (item, module.to_owned())))
        .filter(|(_, module)| names.contains(module))
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> =
        names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (file, (module, depth)) in placed {
        for name in reached(&read(file), depth) {
            let other = passed_on.get(&name).unwrap_or(&name);
            if *other != module && names.contains(other) {
                graph.entry(module.clone()).or_default().insert(other.clone());
            }
        }
    }
    graph
}

/// A circle in a graph, as it is walked: its first module is its last again.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        at: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(begun) = path.iter().position(|module| *module == at) {
            return Some(path[begun..].iter().chain([&at]).map(|module| (*module).to_owned()).collect());
        }
        if !done.insert(at) {
            return None;
        }
        path.push(at);
        let found = graph.get(at).into_iter().flatten().find_map(|next| walk(graph, next, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| walk(graph, module, &mut Vec::new(), &mut done))
}

#[test]
fn no_modules_of_the_domain_import_one_another_in_a_circle() {
    let graph = modules(&root().join("domain/src"));
    // That the imports are found at all: these are not thought to go.
    for (module, other) in [("jobs", "ring"), ("batches", "jobs"), ("delivery", "messages"), ("event", "model")] {
        assert!(graph[module].contains(other), "{module} imports {other}: {:?}", graph[module]);
    }
    assert_eq!(circle(&graph).map(|circle| circle.join(" → ")), None);
}

#[test]
fn a_circle_is_found_and_spelt_out() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circle(&graph).map(|circle| circle.join(" → "))
    };
    assert_eq!(graph(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]), None);
    assert_eq!(graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]).as_deref(), Some("b → c → d → b"));
}

#[test]
fn every_way_to_reach_for_a_name_of_the_root_is_seen() {
    let found = |source: &str, depth| reached(source, depth).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("use crate::jobs::{self, Claimed};\nfn f() { crate::feed::append(); }", 1), "feed jobs");
    assert_eq!(found("use crate::{Event, db::{self, Dialect}, time};", 1), "Event db time");
    assert_eq!(found("use super::super::ring::Lane;\nuse super::near;", 2), "ring");
    assert_eq!(found("use super::ring::Lane;", 1), "ring");
    assert_eq!(found("/// See [`x`](crate::pacing::X).\n// crate::feed::x\n", 1), "");
    assert_eq!(found("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::jobs;\n}\n", 1), "");
}

#[test]
fn nothing_below_the_surfaces_imports_one() {
    let src = root().join("api/src");
    let placed = sources(&src).into_iter().filter_map(|file| Some((place(&file, &src)?, file)));
    let mut seen = BTreeSet::new();
    for ((module, depth), file) in placed.filter(|((module, _), _)| BELOW_THE_SURFACES.contains(&module.as_str())) {
        let source = fs::read_to_string(&file).expect("a source is readable");
        assert!(!reached(&source, depth).contains("surface"), "{} imports a surface", file.display());
        seen.insert(module);
    }
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), BELOW_THE_SURFACES);
}

/// The crates that read the ledger.
const READERS: [&str; 7] = ["api", "backplane", "console", "domain", "scheduler", "src", "worker"];

/// Where a row is still read by a column's name in a string: hot statements of sends and claims of jobs, and what was written
/// beside this rule. A file that is done leaves the list.
const BY_NAME: [&str; 19] = [
    "domain/src/batches/approvals.rs",
    "domain/src/batches/chunks.rs",
    "domain/src/batches/control.rs",
    "domain/src/batches/forecast.rs",
    "domain/src/batches/in_flight.rs",
    "domain/src/batches/kept_pace.rs",
    "domain/src/batches/row.rs",
    "domain/src/delivery/send/claim.rs",
    "domain/src/delivery/send/outcome.rs",
    "domain/src/delivery/send/sender.rs",
    "domain/src/delivery/send/settled.rs",
    "domain/src/jobs/claim.rs",
    "domain/src/jobs/enqueue.rs",
    "domain/src/jobs/finish.rs",
    "domain/src/kept/drafts.rs",
    "domain/src/kept/numbers.rs",
    "domain/src/kept/views.rs",
    "domain/src/queue/examinations.rs",
    "domain/src/queue/senders.rs",
];

/// The lines that read a column by its name in a string.
fn by_name(source: &str) -> usize {
    let reads =
        |line: &&str| line.contains("try_get(\"\", \"") || line.contains("try_get::<") && line.contains("(\"\", \"");
    code(source).lines().filter(reads).count()
}

#[test]
fn rows_are_read_by_their_types() {
    let mut found = BTreeSet::new();
    for krate in READERS {
        for file in sources(&root().join(krate)) {
            let source = fs::read_to_string(&file).expect("a source is readable");
            let name = file.strip_prefix(root()).expect("a file of ours").display().to_string();
            if by_name(&source) > 0 {
                found.insert(name);
            }
        }
    }
    let may: BTreeSet<String> = BY_NAME.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(
        found, may,
        "a row is an entity or a struct that derives `FromQueryResult`: its columns' names stand once"
    );
}

#[test]
fn a_read_by_name_is_found() {
    assert_eq!(
        by_name("let id = row.try_get(\"\", \"id\")?;\nlet n: i64 = row.try_get::<Option<i64>>(\"\", \"n\")?;"),
        2
    );
    assert_eq!(by_name("// row.try_get(\"\", \"id\")\nlet id = row.try_get_by_index(0)?;"), 0);
}

//! The command line: configuration, exit codes, users, tokens, the schema, the doctor.

use serde_json::{Value, json};
use std::process::Output;
use support::{Client, Postgres, Program, Redis};

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_paceline"))
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_wrong_configuration_stops_the_start_and_names_its_keys() {
    for (name, value, words) in [
        ("PACELINE_LISTN", "127.0.0.1:0", ["listn", "unknown key"]),
        ("PACELINE_LISTEN", "nowhere", ["listen", "127.0.0.1:8000"]),
        ("PACELINE_LIMIT_BATCH_PER_MIN", "many", ["limit_batch_per_min", "expected"]),
        ("PACELINE_LIMIT_BATCH_PER_MIN", "-1", ["limit_batch_per_min", "expected"]),
        ("PACELINE_SQLITE_SYNCHRONOUS", "sometimes", ["sqlite_synchronous", "full, normal"]),
        ("PACELINE_SEND_CONCURRENCY", "0", ["send_concurrency", "1 to 10000"]),
        ("PACELINE_DATABASE_URL", "mysql://x", ["database_url", "postgres://"]),
        ("PACELINE_GATEWAY_URL", "http://127.0.0.1:1", ["gateway_secret", "gateway_url"]),
        ("PACELINE_JWT_SECRET", "short", ["jwt_secret", "32 bytes"]),
        ("PACELINE_SIMULATOR_FAIL_RATE", "2", ["simulator", "fail_rate"]),
        ("PACELINE_SIMULATOR_FALE_RATE", "0", ["simulator.fale_rate", "unknown key"]),
    ] {
        let program = program().env(name, value);
        for command in ["serve", "config"] {
            let (code, _, stderr) = said(&program.output(&[command], "").await);
            assert_eq!(code, Some(2), "{name}={value}: {stderr}");
            for word in words {
                assert!(stderr.contains(word), "{name}={value} should say {word:?}: {stderr}");
            }
            assert!(!stderr.contains("short") || name != "PACELINE_JWT_SECRET", "a secret is not repeated: {stderr}");
        }
        assert!(!program.dir().join("paceline-data").exists(), "{name}={value} wrote something");
    }
    let program = program();
    std::fs::write(program.dir().join("paceline.toml"), "listen = 5\nretention_day = 1\n").expect("written");
    let (code, _, stderr) = said(&program.output(&["config"], "").await);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("paceline.toml"), "{stderr}");
}

#[tokio::test]
async fn what_wins_is_flag_then_variable_then_file() {
    let program =
        program().env("PACELINE_SENDER_RATE_PER_MIN", "77").env("PACELINE_JWT_SECRET", "0123456789".repeat(4));
    let file = "sender_rate_per_min = 5\nretention_days = 6\nlog_level = \"warn\"\n[simulator]\nfail_rate = 0.5\n";
    std::fs::write(program.dir().join("paceline.toml"), file).expect("written");
    let text = program.run(&["config", "--json", "--log-level", "error"], "").await;
    let config: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value, source) in [
        ("log_level", json!("error"), "--log-level"),
        ("sender_rate_per_min", json!(77), "PACELINE_SENDER_RATE_PER_MIN"),
        ("retention_days", json!(6), "paceline.toml"),
        ("simulator.fail_rate", json!(0.5), "paceline.toml"),
        ("send_concurrency", json!(64), "default"),
        ("jwt_secret", json!("***"), "PACELINE_JWT_SECRET"),
    ] {
        assert_eq!(config[key]["value"], value, "{key}");
        assert!(config[key]["source"].as_str().is_some_and(|s| s.ends_with(source)), "{key}: {}", config[key]);
    }
    let table = program.run(&["config"], "").await;
    assert!(!table.contains("0123456789"), "{table}");
    assert_eq!(table.lines().count(), config.as_object().map_or(0, serde_json::Map::len));
}

#[tokio::test]
async fn what_opens_metas_doors_is_never_shown() {
    let secrets = [("access_token", "EAAsecretToken"), ("app_secret", "0123456789abcdef"), ("verify_token", "0000777")];
    let given = [("GATEWAY_TRANSPORT", "cloud-api"), ("CLOUD_API_PHONE_NUMBER_ID", "106540352242922")];
    let program =
        given.iter().fold(program(), |program, (name, value)| program.env(format!("PACELINE_{name}"), *value));
    let (code, _, stderr) = said(&program.output(&["config"], "").await);
    assert_eq!((code, stderr.contains("cloud_api.access_token: is missing")), (Some(2), true), "{stderr}");
    let program = secrets.iter().fold(program, |program, (key, value)| {
        program.env(format!("PACELINE_CLOUD_API_{}", key.to_uppercase()), *value)
    });
    let text = program.run(&["config", "--json"], "").await;
    let table = program.run(&["config"], "").await;
    let config: Value = serde_json::from_str(&text).expect("JSON");
    for (key, secret) in secrets {
        assert_eq!(config[format!("cloud_api.{key}")]["value"], json!("***"), "{key}");
        assert!(!text.contains(secret) && !table.contains(secret), "{key}: {table}");
    }
    assert_eq!(config["cloud_api.phone_number_id"]["value"], json!("106540352242922"));
    // A value that is refused is not repeated either.
    for (key, secret) in secrets {
        let wrong = program.clone().env(format!("PACELINE_CLOUD_API_{}", key.to_uppercase()), format!("{secret} "));
        let (code, stdout, stderr) = said(&wrong.output(&["config"], "").await);
        assert_eq!((code, stderr.contains(&format!("cloud_api.{key}"))), (Some(2), true), "{key}: {stderr}");
        assert!(!stderr.contains(secret) && !stdout.contains(secret), "{key}: {stdout}{stderr}");
    }
}

#[tokio::test]
async fn a_demo_reaches_nobody_whatever_this_machine_sends_through() {
    let program = [
        ("GATEWAY_TRANSPORT", "cloud-api"),
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_SECRET", "gateway-secret"),
        ("CLOUD_API_BASE_URL", "http://127.0.0.1:1"),
        ("CLOUD_API_PHONE_NUMBER_ID", "106540352242922"),
        ("CLOUD_API_ACCESS_TOKEN", "token"),
        ("CLOUD_API_APP_SECRET", "app-secret"),
        ("CLOUD_API_VERIFY_TOKEN", "verify-token"),
    ]
    .iter()
    .fold(program(), |program, (name, value)| program.env(format!("PACELINE_{name}"), *value));
    let demo = program.start(&["demo"]).await;
    let log = demo.log();
    assert!(log.contains("the simulator sends nothing to anybody") && !log.contains("cloud-api"), "{}", log.tail(50));
}

#[tokio::test]
async fn roles_of_their_own_need_servers_to_share() {
    let redis = "redis://127.0.0.1:1";
    for (env, word) in [
        (vec![("PACELINE_REDIS_URL", redis)], "SQLite has one process"),
        (vec![("PACELINE_DATABASE_URL", "postgres://127.0.0.1:1/x")], "need Redis"),
        (vec![("PACELINE_DATABASE_URL", "postgres://127.0.0.1:1/x"), ("PACELINE_REDIS_URL", redis)], "jwt_secret"),
    ] {
        let program = env.iter().fold(program(), |program, (name, value)| program.env(*name, *value));
        for role in ["api", "worker", "scheduler"] {
            let (code, _, stderr) = said(&program.output(&[role], "").await);
            assert_eq!(code, Some(2), "{role}: {stderr}");
            assert!(stderr.contains(word), "{role} should say {word:?}: {stderr}");
        }
    }
    // A worker whose configuration forgot the gateway would send to nobody, and say that it had.
    let shared = [
        ("PACELINE_DATABASE_URL", "postgres://127.0.0.1:1/x"),
        ("PACELINE_REDIS_URL", redis),
        ("PACELINE_JWT_SECRET", "a secret that all roles of a cluster share"),
    ];
    let split = shared.iter().fold(program(), |program, (name, value)| program.env(*name, *value));
    for (transport, lacks) in [("", true), ("simulator", false)] {
        let worker = split.clone().env("PACELINE_GATEWAY_TRANSPORT", transport);
        let (code, _, stderr) = said(&worker.output(&["worker"], "").await);
        assert_eq!(code, Some(if lacks { 2 } else { 1 }), "{transport}: {stderr}");
        assert_eq!(stderr.contains("gateway_url: a worker needs the gateway"), lacks, "{transport}: {stderr}");
        assert_eq!(stderr.contains("gateway_transport = \"simulator\""), lacks, "{transport}: {stderr}");
    }
    for role in ["api", "scheduler"] {
        let (code, _, stderr) = said(&split.output(&[role], "").await);
        assert_eq!(code, Some(1), "{role} sends nothing: {stderr}");
    }
    let one = program();
    let serving = one.start(&["serve"]).await;
    let (code, _, stderr) = said(&one.output(&["serve"], "").await);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("SQLite has one process"), "{stderr}");
    // The same file by its address, from another data folder.
    let file = one.dir().join("paceline-data/paceline.db");
    let other = one.elsewhere().env("PACELINE_DATABASE_URL", format!("sqlite://{}", file.display()));
    let (code, _, stderr) = said(&other.output(&["serve"], "").await);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("SQLite has one process"), "{stderr}");
    drop(serving);
}

#[tokio::test]
async fn the_first_start_makes_an_admin_with_a_one_time_password() {
    let program = program().env("PACELINE_LIMIT_LOGIN_PER_MIN", "0");
    let mut serving = program.start(&["serve"]).await;
    // Not on a terminal: what is printed may lie in a log, so the password is in a file, and the file is told.
    let file =
        |line: &str| line.split_once("first start")?.1.rsplit_once(" in ")?.1.split(',').next().map(str::to_owned);
    let file = serving.log().wait_for(support::DEADLINE, file).expect("told");
    let password = std::fs::read_to_string(program.dir().join(&file)).expect("kept").trim().to_owned();
    assert!(password.len() >= 20 && !serving.log().contains(&password), "it is in no log");
    let login = async |client: Client, password: &str| {
        client.post("/api/v1/auth/login", &json!({ "email": "admin@localhost", "password": password })).await
    };
    assert_eq!(login(serving.client(), "another password").await.status, 401);
    let data = login(serving.client(), &password).await.expect(200)["data"].clone();
    assert_eq!((&data["must_change_password"], &data["expires_in"]), (&json!(true), &json!(900)));
    assert_eq!(login(serving.client(), &password).await.status, 401, "it was good once");
    let first = serving.client().with_token(data["token"].as_str().expect("a token"));
    for path in ["/batch", "/customers", "/templates"] {
        let refused = first.get(path).await.expect(403);
        assert!(refused.to_string().contains("/api/v1/auth/password"), "{refused}");
    }
    let refresh = json!({ "refresh_token": data["refresh_token"] });
    assert_eq!(serving.client().post("/api/v1/auth/refresh", &refresh).await.status, 401);
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    for wrong in [change("a guess", "a password of mine"), change(&password, "short"), change(&password, &password)] {
        first.post("/api/v1/auth/password", &wrong).await.expect(400);
    }
    first.post("/api/v1/auth/password", &change(&password, "a password of mine")).await.expect(200);
    first.get("/batch").await.expect(200);
    serving.client().post("/api/v1/auth/refresh", &refresh).await.expect(200);
    let password = "a password of mine".to_owned();
    assert_eq!(login(serving.client(), &password).await.expect(200)["data"]["must_change_password"], json!(false));
    serving.terminate().await;
    assert!(!serving.log().contains("jobs did not come to rest"), "an idle process has nothing to wait for");
    serving.restart().await;
    assert!(!serving.log().contains("first start"), "only the first start makes one");
    assert_eq!(login(serving.client(), &password).await.status, 200);
    for (path, mode) in [(file.as_str(), 0o600), ("paceline-data/jwt-secret", 0o600), ("paceline-data", 0o700)] {
        let permissions = std::fs::metadata(program.dir().join(path)).expect("kept").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn users_and_tokens_are_made_on_the_command_line() {
    let program = program();
    program
        .run(&["user", "add", "--email", "Ann@Example.org", "--role", "agent", "--password-stdin"], "a long password\n")
        .await;
    let again = ["user", "add", "--email", "ann@example.org", "--role", "agent", "--password-stdin"];
    let (code, _, stderr) = said(&program.output(&again, "a long password\n").await);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("a user with this address exists"), "{stderr}");
    let short = ["user", "add", "--email", "bob@example.org", "--role", "agent", "--password-stdin"];
    let (code, _, stderr) = said(&program.output(&short, "short\n").await);
    assert_eq!((code, stderr.contains("password")), (Some(1), true), "{stderr}");
    let (code, _, _) =
        said(&program.output(&["user", "add", "--email", "x", "--role", "king", "--password-stdin"], "").await);
    assert_eq!(code, Some(2));
    let output = program.output(&["token", "--email", "ann@example.org", "--ttl", "1h"], "").await;
    let (code, stdout, _) = said(&output);
    assert_eq!(
        (code, stdout.lines().count(), stdout.trim().split('.').count()),
        (Some(0), 1, 3),
        "a JWT and nothing else"
    );
    let (code, stdout, stderr) = said(&program.output(&["token", "--email", "nobody@example.org"], "").await);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("nobody@example.org"), "{stderr}");
}

#[tokio::test]
async fn the_schema_goes_up_and_down_on_both_databases() {
    let database = Postgres::database().await;
    for program in [program(), program().env("PACELINE_DATABASE_URL", database.url())] {
        let states = async |state: &str| {
            let listed = program.run(&["migrate", "status"], "").await;
            (listed.lines().filter(|line| line.starts_with(state)).count(), listed.lines().count())
        };
        let (pending, all) = states("pending").await;
        assert!(pending == all && all > 0);
        let (code, stdout, _) = said(&program.output(&["doctor"], "").await);
        assert_eq!((code, stdout.contains("paceline migrate up")), (Some(1), true), "{stdout}");
        // Several at once do it once.
        let up = ["migrate", "up"];
        tokio::join!(program.run(&up, ""), program.run(&up, ""), program.run(&up, ""));
        assert_eq!(states("applied").await, (all, all));
        let (code, stdout, _) = said(&program.output(&["doctor"], "").await);
        assert_eq!(code, Some(0), "{stdout}");
        // Asked first: whoever says nothing, or no, keeps what is there.
        let down = ["migrate", "down", "--steps", &all.to_string()];
        for answer in ["", "no\n"] {
            let (code, _, stderr) = said(&program.output(&down, answer).await);
            assert_eq!((code, stderr.contains("--yes")), (Some(1), true), "{stderr}");
            assert_eq!(states("applied").await, (all, all));
        }
        program.run(&["migrate", "down"], "yes\n").await;
        assert_eq!(states("pending").await, (1, all));
        program.run(&["migrate", "down", "--steps", &all.to_string(), "--yes"], "").await;
        assert_eq!(states("pending").await, (all, all));
        program.run(&up, "").await;
    }
}

#[tokio::test]
async fn the_doctor_says_what_is_away_and_which_counts_are_wrong() {
    let redis = Redis::start().await;
    let database = Postgres::database().await;
    let program = program()
        .env("PACELINE_DATABASE_URL", database.url())
        .env("PACELINE_REDIS_URL", redis.url())
        .env("PACELINE_GATEWAY_URL", "http://127.0.0.1:1")
        .env("PACELINE_GATEWAY_SECRET", "gateway-secret");
    program.run(&["migrate", "up"], "").await;
    database
        .execute(
            "INSERT INTO users (email, full_name, role, password_hash, created_at, updated_at)
             VALUES ('a@b.c', 'A', 'admin', 'x', 0, 0)",
        )
        .await;
    database
        .execute(
            "INSERT INTO batches (type, status, created_by, config, jitter_ms, on_unknown, total, expanded, succeeded,
                                  created_at, completed_at)
             VALUES ('DELETE', 'COMPLETED', 1, '{}', 0, 'resend', 5, true, 4, 0, 0)",
        )
        .await;
    let (code, stdout, _) = said(&program.output(&["doctor"], "").await);
    assert_eq!(code, Some(1), "{stdout}");
    let failed: Vec<_> = stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failed.iter().any(|line| line.contains("ledger") && line.contains("batch 1")), "{stdout}");
    assert!(failed.iter().any(|line| line.contains("gateway") && line.contains("check gateway_url")), "{stdout}");
    assert_eq!(failed.iter().filter(|line| line.contains("redis") || line.contains("database")).count(), 0, "{stdout}");
}

#[tokio::test]
async fn help_is_one_screen_and_wrong_arguments_are_told() {
    let program = program();
    for command in [
        "",
        "serve",
        "api",
        "worker",
        "scheduler",
        "migrate",
        "user",
        "key",
        "token",
        "config",
        "doctor",
        "bench",
        "demo",
    ] {
        let help =
            program.run(&[command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect::<Vec<_>>(), "").await;
        assert!(help.lines().count() <= 40, "{command}");
        assert!(help.contains("Usage: paceline"), "{command}");
    }
    for args in [vec!["nope"], vec!["serve", "--nope"], vec!["token"], vec!["migrate"], vec!["migrate", "sideways"]] {
        let (code, _, stderr) = said(&program.output(&args, "").await);
        assert_eq!((code, stderr.contains("Usage")), (Some(2), true), "{args:?}: {stderr}");
    }
}

/// All files below a folder.
fn files(dir: &std::path::Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn commands_that_look_make_nothing_and_say_in_words_what_is_not_there() {
    let program = program();
    for args in [
        vec!["doctor"],
        vec!["token", "--email", "a@b.c"],
        vec!["user", "list"],
        vec!["user", "disable", "--email", "a@b.c"],
        vec!["key", "list"],
        vec!["key", "revoke", "1"],
        vec!["sender", "list"],
        vec!["migrate", "down"],
        vec!["migrate", "status"],
        vec!["config"],
    ] {
        let (code, stdout, stderr) = said(&program.output(&args, "").await);
        let looks_fine = matches!(args.as_slice(), ["migrate", "status"] | ["config"]);
        assert_eq!(code, Some(i32::from(!looks_fine)), "{args:?}: {stdout}{stderr}");
        assert_eq!(files(program.dir()), Vec::<String>::new(), "{args:?} made something");
        for raw in ["no such table", "(code: ", "SQLITE"] {
            assert!(!stdout.contains(raw) && !stderr.contains(raw), "{args:?}: {stdout}{stderr}");
        }
    }
}

#[tokio::test]
async fn a_schema_that_is_not_this_binarys_is_told_in_words() {
    let database = Postgres::database().await;
    let program = program().env("PACELINE_DATABASE_URL", database.url());
    let commands = [vec!["user", "list"], vec!["key", "list"], vec!["serve"]];
    for args in &commands[..2] {
        let (code, stdout, stderr) = said(&program.output(args, "").await);
        assert_eq!((code, stderr.contains("paceline migrate up")), (Some(1), true), "{args:?}: {stdout}{stderr}");
    }
    program.run(&["migrate", "up"], "").await;
    database.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_tomorrow', 0)").await;
    let more = [vec!["doctor"], vec!["migrate", "up"], vec!["migrate", "down", "--yes"], vec!["migrate", "status"]];
    for args in commands.iter().chain(&more) {
        let (code, stdout, stderr) = said(&program.output(args, "").await);
        let all = stdout + &stderr;
        assert_eq!(code, Some(1), "{args:?}: {all}");
        assert!(all.contains("this binary is older") && all.contains("m9999_tomorrow"), "{args:?}: {all}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_an_end() {
    let program = program();
    program.run(&["user", "add", "--email", "a@b.c", "--role", "admin", "--password-stdin"], "a long password\n").await;
    for args in ["doctor", "config", "config --json", "user list", "key list", "migrate status", "--help"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        // Nobody reads, from the first line on.
        drop(reader);
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paceline"));
        command.args(args.split(' ')).current_dir(program.dir()).stdout(writer);
        let output = command.stderr(std::process::Stdio::piped()).output().await.expect("started");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panic"), "{args}: {stderr}");
        assert_ne!(output.status.code(), Some(101), "{args}: {stderr}");
    }
}

#[tokio::test]
async fn keys_have_scopes_an_end_and_are_revoked() {
    let program = program().env("PACELINE_LIMIT_GENERAL_PER_MIN", "0");
    let serving = program.start(&["serve"]).await;
    let user = program.user("supervisor").await;
    let add = ["key", "add", "--email", &user.email, "--name", "the shop", "--scope", "batches:read,contacts:read"];
    let key = program.run(&add, "").await;
    assert!(key.starts_with("pk_") && key.lines().count() == 1, "nothing but the key");
    let client = serving.client().with_token(&key);
    client.get("/batch").await.expect(200);
    client.get("/customers").await.expect(200);
    client.post("/batch/delete", &json!({ "contactIds": ["1"] })).await.expect(403);
    client.post("/api/v1/auth/logout", &json!({})).await.expect(403);
    let change = json!({ "current_password": user.password, "new_password": "another password" });
    client.post("/api/v1/auth/password", &change).await.expect(403);
    serving.client().with_token(format!("{key}0")).get("/batch").await.expect(401);
    let beyond = ["key", "add", "--email", &user.email, "--name", "x", "--scope", "contacts:delete"];
    let (code, _, stderr) = said(&program.output(&beyond, "").await);
    assert_eq!((code, stderr.contains("contacts:delete")), (Some(1), true), "{stderr}");
    let unknown = ["key", "add", "--email", &user.email, "--name", "x", "--scope", "batches:reed"];
    assert_eq!(said(&program.output(&unknown, "").await).0, Some(2));
    let listed = support::eventually("its use to be noted", support::DEADLINE, async || {
        let listed = program.run(&["key", "list"], "").await;
        if listed.contains("never") { Err(listed) } else { Ok(listed) }
    })
    .await;
    assert!(listed.contains("the shop: contacts:read,batches:read") && !listed.contains(&key), "{listed}");
    let kept = format!("SELECT count(*) FROM api_keys WHERE key_hash = '{key}' OR prefix = '{key}'");
    assert_eq!(program.number(kept).await, 0, "its hash alone is kept");
    // What it has open ends with it, and so does the next request, though this set-up has no way to be told.
    let mut socket = support::Socket::open(&client.socket_url("/ws")).await;
    socket.wait_for("the hello", |frame| (frame["type"] == "connection_established").then_some(())).await;
    program.run(&["key", "revoke", "1"], "").await;
    support::eventually("the key to be refused", support::DEADLINE, async || match client.get("/batch").await.status {
        401 => Ok(()),
        status => Err(status),
    })
    .await;
    let mut next = socket.next().await;
    while next.is_some() {
        next = socket.next().await;
    }
    // One that is disabled is out, keys and all.
    let key = program.run(&add, "").await;
    let client = serving.client().with_token(&key);
    client.get("/batch").await.expect(200);
    program.run(&["user", "disable", "--email", &user.email], "").await;
    support::eventually("the user to be out", support::DEADLINE, async || match client.get("/batch").await.status {
        401 => Ok(()),
        status => Err(status),
    })
    .await;
    let login = json!({ "email": user.email, "password": user.password });
    serving.client().post("/api/v1/auth/login", &login).await.expect(401);
    program.run(&["user", "enable", "--email", &user.email], "").await;
    serving.client().post("/api/v1/auth/login", &login).await.expect(200);
    client.get("/batch").await.expect(401);
}

#[tokio::test]
async fn a_password_that_is_set_for_a_user_is_good_once() {
    let program = program().env("PACELINE_LIMIT_LOGIN_PER_MIN", "0");
    let serving = program.start(&["serve"]).await;
    let user = program.user("agent").await;
    let login = async |password: &str| {
        serving.client().post("/api/v1/auth/login", &json!({ "email": user.email, "password": password })).await
    };
    let before = login(&user.password).await.expect(200)["data"]["token"].as_str().expect("a token").to_owned();
    let told = program.run(&["user", "password", "--email", &user.email], "").await;
    let file = told.rsplit_once(" in ").and_then(|(_, rest)| rest.split(',').next()).expect("a file").to_owned();
    let password = std::fs::read_to_string(program.dir().join(file)).expect("kept").trim().to_owned();
    assert!(!told.contains(&password), "{told}");
    assert_eq!(login(&user.password).await.status, 401);
    support::eventually("the session to end", support::DEADLINE, async || {
        match serving.client().with_token(&before).get("/batch").await.status {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    assert_eq!(login(&password).await.expect(200)["data"]["must_change_password"], json!(true));
    assert_eq!(login(&password).await.status, 401);
    program.run(&["user", "password", "--email", &user.email, "--password-stdin"], "a long password\n").await;
    assert_eq!(login("a long password").await.expect(200)["data"]["must_change_password"], json!(false));
    let listed = program.run(&["user", "list"], "").await;
    assert!(listed.contains(&user.email) && listed.contains("agent") && listed.contains("active"), "{listed}");
}

#[tokio::test]
async fn every_metric_says_what_it_means() {
    // Those of the sources, whether or not this process has counted them yet.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let help = std::fs::read_to_string(root.join("src/metrics_help.rs")).expect("read");
    let mut folders: Vec<_> =
        ["api", "backplane", "domain", "gateway", "scheduler", "worker"].map(|name| root.join(name).join("src")).into();
    folders.push(root.join("src"));
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("read");
                for (_, rest) in ["counter!(", "gauge!(", "histogram!("].iter().flat_map(|how| {
                    text.match_indices(how).map(|(at, how)| (at, &text[at + how.len()..])).collect::<Vec<_>>()
                }) {
                    let Some(name) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                        continue;
                    };
                    found += 1;
                    assert!(help.contains(&format!("\"{name}\",")), "{}: {name} has no help", path.display());
                }
            }
        }
    }
    assert!(found > 30, "the sources were read: {found}");
    let served = program().start(&["serve"]).await;
    let text = served.client().metrics().await;
    let named = |kind: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next().map(str::to_owned)).collect()
    };
    let helped = named("# HELP ");
    for metric in named("# TYPE ") {
        assert!(helped.contains(&metric), "{metric} has no help:\n{text}");
    }
    assert!(!helped.is_empty());
}

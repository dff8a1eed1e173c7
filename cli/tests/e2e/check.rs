//! `writ check`, `writ config` and the exit codes: the binary without any server.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::models;
use crate::harness::server::writ;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    writ().current_dir(folder).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn model_files() -> Vec<(&'static str, &'static [u8])> {
    models::FILES.iter().map(|(name, text)| (*name, text.as_bytes())).collect()
}

#[test]
fn the_models_of_the_tests_and_of_the_shop_are_right() {
    let tests = folder(&model_files());
    let output = run(tests.path(), &["check", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert_eq!(stdout(&output).trim(), "5 files, 5 models: member, note, order, purse, seat. No errors.");

    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let output = run(tests.path(), &["check", shop.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

/// A file with several errors, and where each of them is.
const BROKEN: &str = "\
model: order
fields:
  number: { type: txt }
  total: { type: decimal, precision: 4, scale: 9 }
commands:
  place:
    creates: true
    input: [number, nothing]
    set: { total: input.number }
    emits: placed
";

#[test]
fn every_error_of_every_file_is_shown_with_its_place() {
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let folder = folder(&[
        ("broken.yaml", BROKEN.as_bytes()),
        ("garbage.yaml", &garbage),
        ("unclosed.yaml", b"model: [a\nfields: {"),
        ("empty.yaml", b""),
        ("list.yaml", b"- 1\n- 2\n"),
        ("nul.yaml", b"model: a\0b\n"),
        ("deep.yaml", "[".repeat(10_000).as_bytes()),
        ("bomb.yaml", b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nmodel: *c\n"),
    ]);
    let output = run(folder.path(), &["check", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(!text.contains("panicked") && !stderr(&output).contains("panicked"), "{text}");
    for part in ["broken.yaml:3:", "{ type: txt }", "text", "garbage.yaml", "unclosed.yaml"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }

    let output = run(folder.path(), &["check", ".", "--format", "short"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for file in ["broken", "garbage", "unclosed", "empty", "list", "nul", "deep", "bomb"] {
        assert!(text.contains(&format!("{file}.yaml:")), "{file} in\n{text}");
    }
    for line in ["broken.yaml:3:", "broken.yaml:4:", "broken.yaml:8:"] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    for line in text.lines() {
        let mut parts = line.splitn(4, ':');
        assert!(parts.next().is_some_and(|file| file.ends_with(".yaml")), "{line}");
        assert!(parts.next().is_some_and(|number| number.parse::<usize>().is_ok_and(|n| n > 0)), "{line}");
        assert!(parts.next().is_some_and(|number| number.parse::<usize>().is_ok_and(|n| n > 0)), "{line}");
        assert!(parts.next().is_some_and(|message| message.len() > 5), "{line}");
    }

    let output = run(folder.path(), &["check", ".", "--format", "json"]);
    let findings: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(findings.len(), text.lines().count());
    assert!(
        findings.iter().any(|finding| {
            finding["line"] == 3 && finding["hint"].is_string() && finding["severity"] == "error"
        }),
        "{findings:?}"
    );
}

#[test]
fn what_is_probably_not_meant_is_shown_and_is_no_error() {
    let page = "model: page\nfields: { title: text }\ncrud: [create]\nallow:\n  create: actor.id != null\n  read: 'true'\n";
    let folder = folder(&[("page.yaml", page.as_bytes())]);
    let check = |format: &[&str]| {
        let output = run(folder.path(), &[&["check", "."], format].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let pretty = check(&[]);
    for part in ["page.yaml:6:", "read: 'true'", "`read` is open to everyone", "actor.id != null"] {
        assert!(pretty.contains(part), "{part} in\n{pretty}");
    }
    assert!(pretty.ends_with("1 file, 1 model: page. No errors, 1 warning (shown above).\n"), "{pretty}");
    let short = check(&["--format", "short"]);
    assert!(short.starts_with("./page.yaml:6:9: warning: `read` is open to everyone"), "{short}");
    let json: Value = serde_json::from_str(&check(&["--format", "json"])).unwrap();
    assert_eq!((&json["severity"], &json["line"]), (&"warning".into(), &6.into()));
    assert!(json["hint"].is_string());
}

#[test]
fn a_folder_without_models_is_said() {
    let empty = folder(&[("notes.txt", b"hello")]);
    let output = run(empty.path(), &["check", "."]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("there is no model file"), "{}", stdout(&output));

    let output = run(empty.path(), &["check", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nowhere"), "{}", stderr(&output));
}

#[test]
fn a_server_does_not_start_with_broken_models() {
    let folder = folder(&[("broken.yaml", BROKEN.as_bytes())]);
    let output = run(folder.path(), &["serve", "--models", ".", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("broken.yaml:3:"), "{}", stderr(&output));
}

#[test]
fn an_open_server_does_not_listen_to_other_machines() {
    let folder = folder(&model_files());
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = writ()
            .current_dir(folder.path())
            .args(["serve", "--models", ".", "--listen", address])
            .env("WRIT_HTTP_OPEN", "true")
            // Nobody is there: a server that starts all the same must not write anywhere.
            .envs([("WRIT_KAFKA_BROKERS", "127.0.0.1:1"), ("WRIT_REGISTRY_URL", "http://127.0.0.1:1")])
            .env("WRIT_POSTGRES_URL", "postgres://postgres@127.0.0.1:1/postgres")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{address}: {}", stderr(&output));
        assert!(stderr(&output).contains("can be reached from other machines"), "{}", stderr(&output));
    }
}

#[test]
fn the_configuration_is_shown_with_its_origins() {
    let folder = folder(&[("writ.toml", b"app = 'shop'\n[kafka]\npartitions = 6\n")]);
    let output = writ()
        .current_dir(folder.path())
        .arg("config")
        .env("WRIT_POSTGRES_URL", "postgres://u:hunter2@db:5432/shop")
        // Of clients: no key of the configuration.
        .envs([("WRIT_URL", "http://writ.example"), ("WRIT_TOKEN", "writ_hush")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(!text.contains("hunter2"), "{text}");
    let line = |key: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
        found.unwrap_or_else(|| panic!("{key} in\n{text}"))
    };
    assert!(line("app").contains("\"shop\"") && line("app").ends_with("writ.toml"));
    assert!(line("kafka.partitions").contains("= 6 ") && line("kafka.partitions").ends_with("writ.toml"));
    assert!(line("kafka.brokers").ends_with("# default"));
    assert!(line("postgres.url").ends_with("# WRIT_POSTGRES_URL"));
}

#[test]
fn wrong_usage_and_configuration_end_with_2_and_say_what_is_right() {
    let folder = folder(&[("writ.toml", b"[kafka]\nbroker = 'x'\n")]);
    let output = run(folder.path(), &["config"]);
    assert_eq!(output.status.code(), Some(2));
    for part in ["writ.toml", "kafka.broker", "kafka.brokers"] {
        assert!(stderr(&output).contains(part), "{part} in\n{}", stderr(&output));
    }
    assert_eq!(run(folder.path(), &["serv"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["config", "--config", "nowhere.toml"]).status.code(), Some(2));
    assert!(stdout(&run(folder.path(), &["--help"])).contains("Exit codes:"));
    assert!(stdout(&run(folder.path(), &["version"])).starts_with("writ "));
}

#[test]
fn the_language_has_a_schema() {
    let folder = folder(&[]);
    let output = run(folder.path(), &["check", "--schema"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
    for document in ["model", "projection"] {
        assert!(schema["$defs"][document]["properties"][document].is_object(), "{document} in {schema}");
    }
}

//! The OpenAPI document is the whole truth: schemathesis makes requests of it, good ones and bad ones, as an administrator, as
//! somebody without any role and as nobody, and holds every answer against it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::people::{Guarded, PASSWORD, Person};
use crate::harness::{python, world};

/// Operations that succeed at least once for someone who is signed in: a run that is refused everywhere has looked at little.
const FEWEST_DONE: usize = 15;

/// Every type, and rules for rows, fields and commands.
const PARCEL: &str = "\
model: parcel
crud: true
fields:
  code: { type: text, key: true, min_length: 1, max_length: 20, pattern: '[A-Z0-9-]+' }
  label: { type: text, max_length: 40, unique: { ignore_case: true }, optional: true }
  sender: { type: ref, to: firm, optional: true }
  status: { type: enum, values: [packed, sent] }
  weight: { type: decimal, precision: 8, scale: 3, min: 0, optional: true }
  pieces: { type: integer, min: 1, max: 1000, default: 1 }
  fragile: { type: boolean, default: false }
  due: { type: date, optional: true }
  taken_at: { type: timestamp, optional: true }
  lasts: { type: duration, optional: true }
  tracking: { type: uuid, optional: true }
  mail: { type: email, optional: true, personal: true }
  site: { type: url, optional: true }
  tags: { type: list, max_length: 5, of: { type: text, max_length: 20 }, default: [] }
  size: { type: object, optional: true, fields: { width: { type: integer, min: 1 }, height: { type: integer, min: 1, optional: true } } }
  extra: { type: json, optional: true }
  pin: { type: text, max_length: 40, secret: true, optional: true }
  remark: { type: text, max_length: 100, optional: true }
commands:
  send:
    input: { by: { type: text, min_length: 1, max_length: 40 } }
    from: packed
    to: sent
    emits: sent
allow:
  create, update, send: actor.id != null
  delete: role('admin')
  read: role('admin') || state.status == 'packed'
  fields: { remark: role('admin') }
";

const FIRM: &str = "\
model: firm
crud: true
fields:
  number: { type: integer, key: true, min: 1 }
  name: { type: text, min_length: 1, max_length: 60 }
allow:
  create, update, delete: actor.id != null
  read: 'true'
";

const TALLY: &str = "\
projection: tally
fields:
  code: { type: text, key: true }
  times: integer
allow:
  read: actor.id != null
on:
  parcel.created: |
    INSERT INTO tally (code, times) VALUES (:code, 1)
    ON CONFLICT (code) DO UPDATE SET times = tally.times + 1
";

const CHANNELS: &str = "\
channel: desk
of: parcel
presence: { name: { type: text, min_length: 1, max_length: 20 } }
messages:
  typing: { is_typing: boolean, at: { type: timestamp, optional: true } }
  rang:
allow:
  join, send: actor.id != null
---
channel: board
key: { type: integer, min: 1, max: 100 }
presence: {}
allow:
  join, send: actor.id != null
---
channel: lobby
allow:
  join, send: role('admin')
";

/// A wait for a read model that isn't there yet is nothing to look at, and made-up positions ask for it all the time.
const IMPATIENT: [(&str, &str); 2] =
    [("WRIT_POSTGRES_POSITION_WAIT_MS", "50"), ("WRIT_HTTP_REFERENCE_WAIT_MS", "50")];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_outside_the_document() {
    let python = tokio::task::spawn_blocking(|| python::environment("schemathesis")).await.unwrap();
    let files =
        [("parcel.yaml", PARCEL), ("firm.yaml", FIRM), ("tally.yaml", TALLY), ("channels.yaml", CHANNELS)];
    // Redis keeps tickets.
    let redis = world::redis_url();
    let settings = [IMPATIENT, world::with_redis(&redis)].concat();
    let app = Guarded::start_with(&files, &settings).await;
    let document = app.client.get("/openapi.json").await.expect(200).body;
    // The document itself is read once, before the run.
    let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != "/openapi.json");
    let operations: usize = paths.map(|(_, methods)| methods.as_object().unwrap().len()).sum();

    let (admin, somebody) = (app.person(&["admin"]).await, app.person(&[]).await);
    let role = app.admin.client.get("/v1/role/admin").await.expect(200);
    let kept = format!("{},{},admin,{}", admin.id, somebody.id, role.id());
    let people = [("administrator", Some(&admin)), ("somebody", Some(&somebody)), ("nobody", None)];
    let runs = people.map(|(name, person)| {
        let folder = app.world.folder().join(name);
        let command = command(&python, &folder, app.client.base(), person, &kept);
        tokio::task::spawn_blocking(move || Run::of(name, &folder, command))
    });
    for run in runs {
        let run = run.await.unwrap();
        eprintln!("{}: {} operations, {} requests", run.name, run.statuses.len(), run.requests());
        assert!(run.output.status.success(), "as {}:\n{}", run.name, run.text());
        assert_eq!(run.statuses.len(), operations, "as {}: {:?}", run.name, run.statuses.keys());
        if run.name != "nobody" {
            assert_eq!(run.refused(), Vec::<&str>::new(), "as {}", run.name);
            assert!(run.done() >= FEWEST_DONE, "as {}: {:?}", run.name, run.statuses);
        }
    }
    // Those who were used are still there: no run has ended before its end.
    app.sign_in(&admin.email).await;
    app.sign_in(&somebody.email).await;
}

/// Schemathesis as this person. Its files go into `folder`.
fn command(python: &Path, folder: &Path, url: &str, person: Option<&Person>, kept: &str) -> Command {
    std::fs::create_dir(folder).unwrap();
    let configuration = python::source("schemathesis", "schemathesis.toml");
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command
        .current_dir(folder)
        .arg("--config-file")
        .arg(&configuration)
        .args(["run", &format!("{url}/openapi.json"), "--no-color"])
        // The sources stay as they are.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", configuration.parent().unwrap())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("WRIT_CONTRACT_URL", url)
        .env("WRIT_CONTRACT_KEPT", kept)
        .env("WRIT_CONTRACT_STATUSES", folder.join("statuses.json"));
    if let Some(person) = person {
        command.env("WRIT_CONTRACT_EMAIL", &person.email).env("WRIT_CONTRACT_PASSWORD", PASSWORD);
    }
    command
}

/// A run that has ended.
struct Run {
    name: &'static str,
    output: Output,
    /// How often each operation gave which status.
    statuses: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Run {
    fn of(name: &'static str, folder: &Path, mut command: Command) -> Run {
        let output = command.output().unwrap();
        let statuses = std::fs::read(folder.join("statuses.json")).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        });
        Run { name, output, statuses: serde_json::from_slice(&statuses).unwrap() }
    }

    fn text(&self) -> String {
        [&self.output.stdout, &self.output.stderr].map(|text| String::from_utf8_lossy(text)).join("\n")
    }

    fn requests(&self) -> u64 {
        self.statuses.values().flat_map(BTreeMap::values).sum()
    }

    /// How many operations have succeeded at least once.
    fn done(&self) -> usize {
        let is_done =
            |statuses: &&BTreeMap<String, u64>| statuses.keys().any(|status| status.starts_with('2'));
        self.statuses.values().filter(is_done).count()
    }

    /// Operations that took the token for none. Those below `/v1/auth` refuse wrong passwords and codes in the same way, and a socket
    /// made-up tickets.
    fn refused(&self) -> Vec<&str> {
        let is_wrong = |name: &str| name.contains(" /v1/auth/") || name == "GET /v1/live";
        let all = self.statuses.iter().filter(|(name, _)| !is_wrong(name));
        all.filter(|(_, statuses)| statuses.contains_key("401")).map(|(name, _)| name.as_str()).collect()
    }
}

//! Live updates, as clients see them: sockets, event streams, long polls, on one and on two instances.

mod channels;
mod commands;
mod document;
mod following;
mod http;
mod opening;
mod rfc6455;
mod rights;
mod stopping;

use serde_json::Value;

use crate::harness::people::Guarded;
use crate::harness::{Slot, World, slot, world};

/// An open server for the tests that don't disturb it.
static APP: Slot = slot();

/// What people send to each other, readable for both; a note that only staff sees.
const LETTER: &str = "\
model: letter
fields:
  number: { type: text, key: true, max_length: 40 }
  owner: { type: ref, to: account }
  text: { type: text, max_length: 50 }
  mark: { type: text, max_length: 50, optional: true }
  status: { type: enum, values: [draft, sent] }
commands:
  write: { creates: true, input: [number, owner, text, mark], set: { status: \"'draft'\" }, emits: written }
  rewrite: { input: [text], emits: rewritten }
  give: { input: [owner], emits: given }
  send: { from: draft, to: sent, emits: sent }
  burn: { deletes: true, emits: burnt }
allow:
  write: true
  rewrite, give, send, burn: role('staff') || state.owner == actor.id
  read: role('staff') || state.owner == actor.id
  fields: { mark: role('staff') }
";

/// What nobody reads by a rule.
const LEDGER: &str = "\
model: ledger
crud: true
fields:
  line: { type: text, max_length: 50 }
allow:
  create, update, delete: role('staff')
  read: role('staff')
";

/// With Redis, which keeps tickets.
async fn guarded() -> Guarded {
    guarded_with(&[]).await
}

async fn guarded_with(more: &[(&str, &str)]) -> Guarded {
    let redis = world::redis_url();
    let settings = [&world::with_redis(&redis), more].concat();
    Guarded::start_with(&[("letter.yaml", LETTER), ("ledger.yaml", LEDGER)], &settings).await
}

/// A world with the models of the tests.
fn world() -> World {
    World::new()
}

/// The kinds of messages and what they show of `member`, for assertions that read well.
fn told(message: &Value, member: &str) -> (String, Value) {
    (message["type"].as_str().unwrap_or_default().to_owned(), message["row"]["state"][member].clone())
}

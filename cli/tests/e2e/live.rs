//! Live updates, as clients see them: sockets, event streams, long polls, on one and on two instances.

mod channels;
mod commands;
mod document;
mod following;
mod http;
mod opening;
mod projections;
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

/// How many letters each status has seen, and a column that only staff sees.
const POST: &str = "\
projection: post
fields:
  status: { type: text, key: true }
  letters: { type: integer }
  words: { type: integer }
allow:
  read: role('staff') || state.status == 'sent'
  fields: { words: role('staff') }
on:
  letter.written: |
    INSERT INTO post (status, letters, words) VALUES ('draft', 1, 1)
    ON CONFLICT (status) DO UPDATE SET letters = post.letters + 1
  letter.rewritten: UPDATE post SET words = words + 1 WHERE status = 'draft'
  letter.sent: |
    INSERT INTO post (status, letters, words) VALUES ('sent', 1, 1)
    ON CONFLICT (status) DO UPDATE SET letters = post.letters + 1
  letter.burnt: DELETE FROM post WHERE status = 'sent'
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
    Guarded::start_with(&[("letter.yaml", LETTER), ("post.yaml", POST), ("ledger.yaml", LEDGER)], &settings)
        .await
}

/// A world with the models of the tests.
fn world() -> World {
    World::new()
}

/// The kinds of messages and what they show of `member`, for assertions that read well.
fn told(message: &Value, member: &str) -> (String, Value) {
    (message["type"].as_str().unwrap_or_default().to_owned(), message["row"]["state"][member].clone())
}

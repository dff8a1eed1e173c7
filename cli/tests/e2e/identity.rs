//! Who someone is, and what follows from it: signing in, sessions and their ends, second factors, API keys, roles, secrets.

mod accounts;
mod mail;
mod matrix;
mod rights;
mod secrets;
mod sessions;
mod tokens;

use crate::harness::people::Guarded;

/// What belongs to somebody, with a field that its owner doesn't see and one that nobody does.
pub(crate) const PARCEL: &str = "\
model: parcel
fields:
  owner: { type: ref, to: account, immutable: true }
  label: { type: text, max_length: 50 }
  cost: { type: integer, min: 0, default: 0 }
  code: { type: text, secret: true, optional: true, min_length: 4, max_length: 12, pattern: \"[0-9]+\" }
  status: { type: enum, values: [packed, sent] }
commands:
  pack: { creates: true, input: [owner, label, cost, code], set: { status: \"'packed'\" }, emits: packed }
  send: { from: packed, to: sent, emits: sent }
  relabel: { input: [label], emits: relabelled }
  recode: { input: [code], emits: recoded }
  lose: { deletes: true, emits: lost }
allow:
  pack: role('staff') || input.owner == actor.id
  send: role('staff')
  relabel, recode: role('staff') || (state.owner == actor.id && state.status == 'packed')
  read: role('staff') || state.owner == actor.id
  fields: { cost: role('staff') }
";

async fn guarded() -> Guarded {
    Guarded::start(&[("parcel.yaml", PARCEL)]).await
}

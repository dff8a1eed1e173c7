//! Channels: who is at the same thing, and what they say to each other, on one and on two instances.

mod away;
mod document;
mod inputs;
mod presence;
mod rights;
mod said;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::LETTER;
use crate::harness::people::{Guarded, Person};
use crate::harness::socket::Socket;
use crate::harness::{Server, unique, world};

const CHANNELS: &str = "\
channel: desk
of: letter
presence: { name: { type: text, max_length: 5000 }, typing: { type: boolean, default: false } }
messages:
  typing: { is_typing: boolean }
  nodded:
allow:
  join: role('staff') || state.owner == actor.id
  send: role('staff') || state.owner == actor.id && state.status == 'draft'
---
channel: wall
key: { type: text, max_length: 8, pattern: '[a-z]+' }
allow:
  join, send: actor.id != null && key != 'closed'
---
channel: vault
presence: {}
";

async fn stage() -> Guarded {
    stage_with(&[]).await
}

async fn stage_with(more: &[(&str, &str)]) -> Guarded {
    let redis = world::redis_url();
    let settings = [&world::with_redis(&redis), more].concat();
    Guarded::start_with(&[("letter.yaml", LETTER), ("channels.yaml", CHANNELS)], &settings).await
}

async fn second(guarded: &Guarded) -> Server {
    let redis = world::redis_url();
    guarded.second_with(&world::with_redis(&redis)).await
}

/// A letter of somebody, readable for its owner: its id.
async fn letter(guarded: &Guarded, owner: &Person) -> String {
    let letter = json!({ "number": unique("l"), "owner": owner.id, "text": "dear" });
    let written = guarded.admin.client.post("/v1/letter/write", &letter).await.expect(201);
    guarded
        .admin
        .client
        .get_at(&format!("/v1/letter/{}", written.id()), written.position())
        .await
        .expect(200);
    written.id().to_owned()
}

fn with(kind: &str, sub: &str, more: &Value) -> Value {
    let mut message = json!({ "type": kind, "sub": sub });
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    message
}

/// Joins the desk of a letter; `name`: what it says of itself.
async fn sit(socket: &mut Socket, sub: &str, letter: &str, name: Option<&str>) -> Value {
    let mut more = json!({ "channel": "desk", "id": letter });
    if let Some(name) = name {
        more["state"] = json!({ "name": name });
    }
    join(socket, sub, &more).await
}

async fn join(socket: &mut Socket, sub: &str, more: &Value) -> Value {
    socket.send(&with("join", sub, more)).await;
    let told = socket
        .find("what becomes of it", |told| {
            told["sub"] == sub && (told["type"] == "joined" || told["type"] == "error")
        })
        .await;
    assert_eq!(told["type"], "joined", "{told}");
    told
}

/// What comes of a message that is refused.
async fn refused(socket: &mut Socket, message: &Value) -> (u64, String) {
    socket.send(message).await;
    let told = socket.find("an error", |told| told["type"] == "error").await;
    assert_eq!((&told["sub"], &told["ref"]), (&message["sub"], &message["ref"]), "{told}");
    let problem = &told["problem"];
    let kind = problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    (problem["status"].as_u64().unwrap(), kind)
}

/// Says something, and waits until it is said.
async fn say(socket: &mut Socket, sub: &str, more: &Value) {
    let reference = unique("r");
    let mut message = with("broadcast", sub, more);
    message["ref"] = json!(reference);
    socket.send(&message).await;
    let told = socket.find("the answer", |told| told["ref"] == *reference).await;
    assert_eq!(told["type"], "sent", "{told}");
}

/// Says something else of oneself.
async fn appear(socket: &mut Socket, sub: &str, state: Value) {
    let reference = unique("r");
    socket.send(&with("presence", sub, &json!({ "state": state, "ref": reference }))).await;
    let told = socket.find("the answer", |told| told["ref"] == *reference).await;
    assert_eq!(told["type"], "sent", "{told}");
}

/// The list of a channel as a client keeps it: names of members by their ids.
#[derive(Debug, Default)]
struct List(BTreeMap<String, String>);

impl List {
    fn of(joined: &Value) -> List {
        let mut list = List::default();
        list.fold(joined);
        list
    }

    fn fold(&mut self, message: &Value) {
        if let Some(members) = message["members"].as_array() {
            self.0.clear();
            members.iter().for_each(|member| self.add(member));
        }
        for left in message["left"].as_array().into_iter().flatten() {
            self.0.remove(left.as_str().unwrap());
        }
        message["joined"].as_array().into_iter().flatten().for_each(|member| self.add(member));
    }

    fn add(&mut self, member: &Value) {
        let name = format!(
            "{}{}",
            member["state"]["name"].as_str().unwrap_or("?"),
            if member["state"]["typing"] == true { "…" } else { "" }
        );
        self.0.insert(member["member"].as_str().unwrap().to_owned(), name);
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.values().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Follows what is said of the list until it has these names. An empty list of names is one, too.
    async fn until(&mut self, socket: &mut Socket, sub: &str, names: &[&str]) {
        while self.names() != names {
            let told = socket
                .find(&format!("{names:?} after {:?}", self.names()), |told| {
                    told["sub"] == sub && (told["type"] == "presence" || told["type"] == "members")
                })
                .await;
            self.fold(&told);
        }
    }
}

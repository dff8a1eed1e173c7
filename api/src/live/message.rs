//! The messages of `writ.v1`: JSON texts, told apart by `type`. What is declared here is what is read, what is sent, and what
//! `/asyncapi.json` describes.

mod channels;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use super::wanted::Of;
use crate::body;
use crate::commands::answer::Told;
use crate::problem::{Kind, Problem};
pub(super) use channels::{Broadcast, Join, Member, Presence, Said};

/// The longest name of a subscription, and the longest `ref`, in bytes.
pub(super) const MAX_NAME: usize = 255;

/// What a client sends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    /// Follow a model or an SQL projection.
    Subscribe(Subscribe),
    /// No more of a subscription; `ended` confirms it.
    Unsubscribe(Unsubscribe),
    /// Answered with `pong`: for those who can't send pings of the WebSocket itself, as pages can't.
    Ping(Nothing),
    /// The next proof of the same account, before the present one runs out.
    Authenticate(Authenticate),
    /// A command, as by `POST`.
    Command(Command),
    /// Join a channel.
    Join(Join),
    /// Say something in a channel.
    Broadcast(Broadcast),
    /// Say something else of oneself in a channel.
    Presence(Presence),
}

/// Follow a model or an SQL projection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    /// The client's name for the subscription, in every message of it. Not one that it has open.
    #[schemars(length(min = 1, max = 255))]
    pub(super) sub: String,
    /// Which model: this or `projection`.
    #[serde(default)]
    pub(super) model: Option<String>,
    /// Which SQL projection: this or `model`.
    #[serde(default)]
    pub(super) projection: Option<String>,
    /// Only this one, by its id or natural key. Not of a projection.
    #[serde(default)]
    pub(super) id: Option<String>,
    /// Only what fits: the filters of lists, `{"status": "paid", "total[gte]": "100"}`.
    #[serde(default)]
    pub(super) filter: BTreeMap<String, Given>,
    /// Which fields of a row are shown, separated by commas.
    #[serde(default)]
    pub(super) fields: Option<String>,
    /// `now`; `snapshot`, all rows first; or the `resume` of an earlier message.
    #[serde(default = "now")]
    #[schemars(extend("default" = "now"))]
    pub(super) from: String,
}

fn now() -> String {
    "now".to_owned()
}

impl Subscribe {
    /// The name of what is to be followed, and what it is said to be.
    pub(super) fn followed(&self) -> Result<(String, Of), Problem> {
        let invalid = |pointer: &str, code: &str, detail: &str| {
            Err(Problem::at(Kind::InvalidInput, pointer, code, detail))
        };
        match (&self.model, &self.projection) {
            (Some(model), None) => Ok((model.clone(), Of::Model)),
            (None, Some(projection)) => Ok((projection.clone(), Of::Projection)),
            (None, None) => invalid("/model", "required", "One of `model` and `projection` is needed."),
            (Some(_), Some(_)) => {
                let detail = "Follow a `model` or a `projection`: both are two subscriptions.";
                invalid("/projection", "not_both", detail)
            }
        }
    }
}

/// The value of a filter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Given {
    /// As in an address.
    Text(String),
    /// For those who have no text at hand.
    Flag(bool),
    /// A number; decimals are better texts.
    Number(serde_json::Number),
}

impl From<Given> for String {
    fn from(given: Given) -> String {
        match given {
            Given::Text(text) => text,
            Given::Flag(flag) => flag.to_string(),
            Given::Number(number) => number.to_string(),
        }
    }
}

/// No more of a subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Unsubscribe {
    /// Its name.
    pub(super) sub: String,
}

/// Nothing but its type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The next proof of the same account: one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Authenticate {
    /// An access token or API key.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// Of `POST /v1/live/tickets`.
    #[serde(default)]
    pub(super) ticket: Option<String>,
    /// Comes back with the answer.
    #[serde(rename = "ref", default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) reference: Option<String>,
}

/// A command.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// Comes back with its answer.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub(super) reference: String,
    pub(super) model: String,
    pub(super) command: String,
    /// Id or natural key; not for creating commands.
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default = "empty")]
    #[schemars(with = "serde_json::Map<String, Json>")]
    pub(super) input: Json,
    /// As `Idempotency-Key`.
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
    /// As `If-Match`: the version that was seen.
    #[serde(default)]
    pub(super) if_match: Option<u64>,
    /// How far the answer waits.
    #[serde(default)]
    #[schemars(extend("enum" = ["accepted", "committed", "projected"]))]
    pub(super) wait: Option<String>,
}

pub(super) fn empty() -> Json {
    Json::Object(serde_json::Map::new())
}

/// What a message says of whom its error is for, also where it can't be read otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) sub: Option<String>,
    pub(super) reference: Option<String>,
}

/// Reads a message.
pub(super) fn parse(text: &str) -> (About, Result<FromClient, Problem>) {
    let json = match body::json("The message", text.as_bytes()) {
        Ok(json) => json,
        Err(problem) => return (About::default(), Err(problem)),
    };
    let name = |member: &str| json.get(member).and_then(Json::as_str).map(str::to_owned);
    let about = About { sub: name("sub"), reference: name("ref") };
    let invalid = |detail: String| Problem::at(Kind::InvalidInput, "", "invalid_message", detail);
    let is_wrong = |name: &String| name.is_empty() || name.len() > MAX_NAME;
    if [&about.sub, &about.reference].into_iter().flatten().any(is_wrong) {
        return (About::default(), Err(invalid(format!("`sub` and `ref` have 1 to {MAX_NAME} bytes."))));
    }
    let message = serde_json::from_value(json).map_err(|error| {
        // What serde says may quote a value, such as a token.
        let text = error.to_string();
        let detail = match text.split_once(" `") {
            Some(("missing field" | "unknown field" | "unknown variant", _)) => format!("{text}."),
            _ => "a member is missing or has the wrong type; /asyncapi.json says what belongs there."
                .to_owned(),
        };
        invalid(format!("The message can't be used: {detail}"))
    });
    (about, message)
}

/// What the server sends, beside changes, which the feed writes once for all ([`Frame`] describes them).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToClient<'a> {
    /// The first message: for whom the socket is.
    Welcome {
        connection: Uuid,
        account: Option<Uuid>,
        /// When the proof runs out; `authenticate` before then.
        expires_at: Option<String>,
        /// Seconds between two pings of the server.
        ping_seconds: u64,
    },
    /// Changes follow from here on.
    Subscribed { sub: &'a str, resume: String },
    /// The place to resume from is of no use, a snapshot follows: forget what there is.
    Reset { sub: &'a str, reason: &'a str },
    /// Rows; more may follow before `ready`.
    Snapshot {
        sub: &'a str,
        #[schemars(with = "Vec<Json>")]
        rows: &'a [Box<RawValue>],
        /// Of an SQL projection: the keys of the same rows, one each.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Vec<Json>")]
        keys: Option<&'a [Box<RawValue>]>,
    },
    /// The rows are complete, or what was missed was delivered; changes follow.
    Ready { sub: &'a str, resume: String },
    /// Nothing for this subscription for a while, but the model's events went on.
    Progress { sub: &'a str, resume: String },
    /// Nothing follows.
    Ended {
        sub: &'a str,
        reason: Ending,
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
    },
    /// A command was taken. One that wasn't gets `error`.
    Answer {
        #[serde(rename = "ref")]
        reference: &'a str,
        #[serde(flatten)]
        #[schemars(with = "Answered")]
        told: &'a Told,
    },
    /// A message can't be done; the connection goes on.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<&'a str>,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        #[schemars(with = "Json", extend("$ref" = "#/components/schemas/Problem"))]
        problem: &'a Problem,
    },
    /// One is in the channel.
    Joined {
        sub: &'a str,
        /// Oneself, in the messages of this channel.
        member: Uuid,
        /// Who is there, if the channel shows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<Vec<Member>>")]
        members: Option<Vec<&'a RawValue>>,
    },
    /// Answers what had a `ref`.
    Sent {
        #[serde(rename = "ref")]
        reference: &'a str,
    },
    /// Who is there, all of them: forget the list that there is.
    Members {
        sub: &'a str,
        #[schemars(with = "Vec<Member>")]
        members: Vec<&'a RawValue>,
    },
    /// Broadcasts were lost, since they weren't taken fast enough.
    Missed { sub: &'a str, count: u64 },
    /// Answers `ping`.
    Pong {},
    /// Answers `authenticate`.
    Authenticated {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        expires_at: Option<String>,
    },
    /// The server stops: close, and come back after this time, to any instance.
    Reconnect { after_ms: u64 },
}

/// Why a subscription is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// The client didn't take its messages fast enough; go on from `resume`.
    Lagged,
    /// The caller may see something else now: subscribe anew.
    Permissions,
    /// As asked.
    Unsubscribed,
    /// The server has a fault; try again.
    Failed,
}

/// What the members of an answer are, which another type writes.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `Told` writes")]
struct Answered {
    /// As the answer to a POST would have it: 201, 200 or 202.
    status: u16,
    /// As the body of that.
    body: Json,
    /// As `Writ-Position`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// As `ETag`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// As `Writ-Projected`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    projected: Option<bool>,
}

/// A change of a row, which the feed writes.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", tag = "type")]
#[expect(dead_code, reason = "describes what the feed writes")]
pub(super) enum Frame {
    /// It begins to be one of the subscription's: new, changed, or readable now.
    Enter {
        sub: String,
        model: String,
        id: Uuid,
        version: u64,
        event: Json,
        row: Json,
        position: String,
        resume: String,
    },
    /// It is still one of them.
    Change {
        sub: String,
        model: String,
        id: Uuid,
        version: u64,
        event: Json,
        row: Json,
        position: String,
        resume: String,
    },
    /// It is none any more: deleted, changed, or not readable any more.
    Leave { sub: String, model: String, id: Uuid, position: String, resume: String },
}

/// What becomes of a row of an SQL projection, which the feed writes.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", tag = "type")]
#[expect(dead_code, reason = "describes what the feed writes")]
pub(super) enum RowFrame {
    /// It begins to be one of the subscription's.
    Enter { sub: String, projection: String, key: Json, row: Json, resume: String },
    /// It is still one of them, and another one than it was.
    Change { sub: String, projection: String, key: Json, row: Json, resume: String },
    /// It is none any more.
    Leave { sub: String, projection: String, key: Json, resume: String },
}

impl ToClient<'_> {
    /// As sent.
    pub(super) fn text(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("invariant: messages have string keys only").into()
    }
}

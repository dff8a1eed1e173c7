//! The messages of channels.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Given, empty};

/// Join a channel. `unsubscribe` leaves it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::live) struct Join {
    /// The client's name for it, as of a subscription.
    #[schemars(length(min = 1, max = 255))]
    pub(in crate::live) sub: String,
    /// Which channel.
    pub(in crate::live) channel: String,
    /// Of a channel of each aggregate: its id or natural key.
    #[serde(default)]
    pub(in crate::live) id: Option<String>,
    /// Of a channel of each key.
    #[serde(default)]
    pub(in crate::live) key: Option<Given>,
    /// What to say of oneself. Without it one is there, but not in the list.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, Json>>")]
    pub(in crate::live) state: Option<Json>,
}

/// Say something in a channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::live) struct Broadcast {
    /// The name that it was joined with.
    pub(in crate::live) sub: String,
    /// One of the channel's events.
    pub(in crate::live) event: String,
    #[serde(default = "empty")]
    #[schemars(with = "serde_json::Map<String, Json>")]
    pub(in crate::live) payload: Json,
    /// With it `sent` is answered.
    #[serde(default, rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub(in crate::live) reference: Option<String>,
    /// Comes back to oneself too.
    #[serde(default)]
    pub(in crate::live) echo: bool,
}

/// Say something else of oneself in a channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::live) struct Presence {
    /// The name that it was joined with.
    pub(in crate::live) sub: String,
    /// All of what is said of oneself, from now on; null: not in the list any more.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Json", extend("type" = ["object", "null"]))]
    pub(in crate::live) state: Option<Json>,
    /// With it `sent` is answered.
    #[serde(default, rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub(in crate::live) reference: Option<String>,
}

/// May be null, not absent.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Option::deserialize(deserializer)
}

/// A member of a channel, as others see it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what channels write")]
pub(in crate::live) struct Member {
    member: Uuid,
    account: Option<Uuid>,
    /// What it says of itself.
    state: serde_json::Map<String, Json>,
    /// When it joined.
    since: String,
}

/// What is said in a channel, which is written once for all.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", tag = "type")]
#[expect(dead_code, reason = "describes what channels write")]
pub(in crate::live) enum Said {
    /// Somebody has said something in a channel.
    Broadcast {
        sub: String,
        event: String,
        payload: serde_json::Map<String, Json>,
        /// Null: a service, which is in no channel.
        member: Option<Uuid>,
        account: Option<Uuid>,
        at: String,
    },
    /// Members of a channel have left, then others have joined, or say something else of themselves.
    Presence { sub: String, joined: Vec<Member>, left: Vec<Uuid> },
}

//! Forged histories.

use indexmap::IndexMap;
use uuid::Uuid;
use writ_model::diagnostic::Source;
use writ_model::{Models, Timestamp, Value};

use crate::events::Event;
use crate::history::{Acknowledged, Operation, Outcome, Request};

pub(super) fn models() -> Models {
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    let sources = [
        source("activity.yaml", include_str!("../../models/activity.yaml")),
        source("flow.yaml", include_str!("../../models/flow.yaml")),
        source("purse.yaml", include_str!("../../models/purse.yaml")),
        source("register.yaml", include_str!("../../models/register.yaml")),
        source("member.yaml", include_str!("../../models/member.yaml")),
    ];
    Models::check(crate::APP, &sources).unwrap()
}

/// An event of aggregate `aggregate`, at the offset of its version.
pub(super) fn event(model: &str, name: &str, aggregate: u128, version: u64, tag: &str) -> Event {
    Event {
        model: model.to_owned(),
        partition: 0,
        offset: version.cast_signed(),
        aggregate: Uuid::from_u128(aggregate),
        id: id_of(tag),
        name: name.to_owned(),
        version,
        type_name: format!("chaos.{model}.{name}"),
        actor: None,
        correlation: Some(tag.to_owned()),
        causation: Uuid::new_v5(&id_of(tag), b"command"),
        time: Timestamp(version.cast_signed()),
        fields: IndexMap::from([("tag".to_owned(), Value::Text(tag.to_owned()))]),
        data: serde_json::json!({ "tag": tag }),
    }
}

impl Event {
    pub(super) fn with(mut self, name: &str, value: Value) -> Event {
        self.fields.insert(name.to_owned(), value);
        self
    }
}

/// The command that `event` answers.
pub(super) fn operation(event: &Event, request: Request) -> Operation {
    Operation {
        tag: event.tag().to_owned(),
        request,
        invoked: event.version * 10,
        returned: event.version * 10 + 5,
        attempts: 1,
        outcome: Outcome::Committed(Acknowledged {
            aggregate: event.aggregate,
            version: event.version,
            events: vec![(event.id, event.version)],
            partition: event.partition,
            offset: event.offset,
            register: event.integer("value"),
        }),
        command_id: None,
        repeat: None,
    }
}

pub(super) fn request(model: &'static str, command: &'static str) -> Request {
    Request { model, command, ..Request::default() }
}

pub(super) fn refused(kind: &str) -> Outcome {
    Outcome::Refused { kind: kind.to_owned(), version: None }
}

pub(super) fn id_of(tag: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, tag.as_bytes())
}

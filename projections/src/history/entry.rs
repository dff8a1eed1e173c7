//! An event of the log, read by today's declarations.

use serde_json::Value as Json;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;
use writ_model::value::{object_to_json, stored_from_json};
use writ_model::{Event, Model, Object, Position};

use crate::query::{Error, Subject};

/// What is said of an event to those from whom fields may be hidden.
const UNREADABLE: &str = "today's declarations can't read it";

/// An event as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Event id.
    pub id: Uuid,
    /// `<app>.<model>.<Event>`.
    pub type_name: String,
    /// The model's name.
    pub model: String,
    /// The aggregate.
    pub aggregate_id: Uuid,
    /// The aggregate's version after it.
    pub version: u64,
    /// RFC 3339 UTC, milliseconds.
    pub time: String,
    /// Who caused it; `None` when anonymous.
    pub actor: Option<String>,
    /// The first command of the chain.
    pub correlation_id: Option<String>,
    /// The command that caused it.
    pub causation_id: Option<String>,
    /// Where it stands.
    pub position: Position,
    /// Its recorded fields that the reader sees, under today's names. Where it is unreadable: as it is kept, for who sees every
    /// field; null for others.
    pub data: Json,
    /// Why today's declarations can't read it.
    pub unreadable: Option<String>,
    /// Why its row was not given it: `duplicate`, `hole`.
    pub passed_over: Option<String>,
}

/// What a fold takes of an event: its declaration and its typed fields.
pub(super) type Typed<'a> = (&'a Event, Object);

/// A fault of the schema: what the projector doesn't write.
fn broken(what: &str) -> Error {
    Error::Failed(format!("the event log has {what}"))
}

impl Entry {
    /// From a row of `History`'s columns, as its reader sees it. With it, the typed fields that a fold takes, if they can be
    /// read: all of them. `subject`: the model of this name, if it is declared.
    pub(super) fn read<'s, 'a: 's>(
        row: &PgRow,
        subject: impl Fn(&str) -> Option<&'s Subject<'a>>,
    ) -> Result<(Entry, Option<Typed<'a>>), Error> {
        let (name, type_name): (String, String) = (row.try_get(1)?, row.try_get(5)?);
        let version: i64 = row.try_get(3)?;
        let data: String = row.try_get(11)?;
        let kept: Json = serde_json::from_str(&data).map_err(|_| broken("data that is no JSON"))?;
        let subject = subject(&name);
        let model =
            subject.and_then(Subject::model).ok_or_else(|| "there is no such model any more".to_owned());
        let read = model.and_then(|model| typed(model, &type_name, &kept));
        let (data, unreadable, fields) = match (read, subject) {
            (Ok((event, fields)), Some(subject)) => {
                (visible_data(event, &fields, subject), None, Some((event, fields)))
            }
            (Err(reason), Some(subject)) if !subject.visible().every_field => {
                // What is kept has names of then; nobody says which of them are hidden, nor what the reason quotes.
                tracing::debug!(reason, "an event of the log can't be read");
                (Json::Null, Some(UNREADABLE.to_owned()), None)
            }
            (Err(reason), Some(subject)) => (without_secrets(kept, subject), Some(reason), None),
            (Err(reason), None) => (kept, Some(reason), None),
            (Ok(_), None) => return Err(broken("a model that isn't declared and is read all the same")),
        };
        let entry = Entry {
            id: row.try_get(4)?,
            aggregate_id: row.try_get(2)?,
            version: u64::try_from(version).map_err(|_| broken("a negative version"))?,
            time: row.try_get(0)?,
            actor: row.try_get(6)?,
            correlation_id: row.try_get(7)?,
            causation_id: row.try_get(8)?,
            position: Position { model: name.clone(), partition: row.try_get(9)?, offset: row.try_get(10)? },
            model: name,
            type_name,
            data,
            unreadable,
            passed_over: row.try_get(12)?,
        };
        Ok((entry, fields))
    }
}

/// What of an event's fields the reader sees.
fn visible_data(event: &Event, fields: &Object, subject: &Subject<'_>) -> Json {
    let mut shown = fields.clone();
    subject.visible().strip(&mut shown);
    // An input that is only recorded may be secret too.
    shown.retain(|name, _| event.fields.get(name).is_none_or(|field| !field.secret));
    object_to_json(&shown)
}

/// Data as it is kept, without what today's declaration calls secret, under whatever name.
fn without_secrets(mut kept: Json, subject: &Subject<'_>) -> Json {
    let fields = subject.model().into_iter().flat_map(|model| {
        model.fields.values().chain(model.events.values().flat_map(|event| event.fields.values()))
    });
    let secret = fields.filter(|field| field.secret);
    let names = secret.flat_map(|field| std::iter::once(&field.name).chain(&field.renamed_from));
    if let Some(members) = kept.as_object_mut() {
        names.for_each(|name| {
            members.remove(name);
        });
    }
    kept
}

/// What a fold takes of an event that is kept like this. Errors: why today's declarations can't read it.
pub(super) fn typed<'a>(model: &'a Model, type_name: &str, kept: &Json) -> Result<Typed<'a>, String> {
    let event = model
        .events
        .values()
        .find(|event| event.type_name == type_name)
        .ok_or_else(|| format!("the model {} declares no such event any more", model.name))?;
    let fields = stored_from_json(&event.fields, kept).map_err(|errors| {
        let faults: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
        format!("it doesn't fit today's declaration: {}", faults.join("; "))
    })?;
    Ok((event, fields))
}

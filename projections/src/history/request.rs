//! Requests for events: query-string parameters, typed and checked against the models. Pure but for the SQL that they
//! append, in which every value is bound.

use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;
use writ_model::{FieldError, Model, Models, Timestamp};

use super::cursor;
use super::entry::Entry;
use crate::query::MAX_LIMIT;
use crate::tables::fnv1a;

/// Events of a page when the caller doesn't say.
const DEFAULT_LIMIT: usize = 50;
/// The parameters of all events. Each may stand once.
const PARAMETERS: [&str; 13] = [
    "model",
    "type",
    "aggregate_id",
    "actor",
    "correlation_id",
    "causation_id",
    "time[gt]",
    "time[gte]",
    "time[lt]",
    "time[lte]",
    "sort",
    "limit",
    "after",
];

type Problem = (&'static str, String);

/// A page of all events, typed and checked.
#[derive(Debug, Clone)]
pub struct EventsRequest {
    conditions: Vec<Condition>,
    descending: bool,
    pub(super) limit: usize,
    after: Option<Place>,
    fingerprint: u64,
}

/// A condition on a column. All of a request hold together.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
enum Condition {
    /// Equal to one of them.
    Text(&'static str, Vec<String>),
    Aggregate(Uuid),
    /// With the sign of the comparison.
    Time(&'static str, String),
}

/// Where a page begins: time, model, partition, offset of the last event before it.
type Place = (String, String, i32, i64);

impl EventsRequest {
    /// Reads the query string's parameters. Errors: every fault of every parameter; the pointer names the parameter
    /// (`/time[gte]`).
    pub fn parse(models: &Models, params: &[(String, String)]) -> Result<EventsRequest, Vec<FieldError>> {
        let mut errors = check_names(params, &PARAMETERS);
        let mut request = EventsRequest {
            conditions: Vec::new(),
            descending: true,
            limit: DEFAULT_LIMIT,
            after: None,
            fingerprint: 0,
        };
        let given = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let model = given("model").and_then(|name| models.get(name)).map(AsRef::as_ref);
        for (name, value) in params.iter().filter(|(name, _)| PARAMETERS.contains(&name.as_str())) {
            if let Err(problem) = request.read(models, model, name, value) {
                errors.push(fault(name, problem));
            }
        }
        // Its index begins with the model.
        let one = request.conditions.iter().any(|condition| matches!(condition, Condition::Aggregate(_)));
        if one && model.is_none() {
            request.conditions.push(Condition::Text("model", models.models.keys().cloned().collect()));
        }
        let parts = serde_json::json!([request.conditions, request.descending]);
        request.fingerprint = fnv1a(parts.to_string().as_bytes());
        if let Some(text) = given("after").filter(|_| errors.is_empty()) {
            match request.place(text) {
                Ok(place) => request.after = Some(place),
                Err(detail) => errors.push(fault("after", ("invalid_cursor", detail.to_owned()))),
            }
        }
        if errors.is_empty() { Ok(request) } else { Err(errors) }
    }

    fn read(
        &mut self,
        models: &Models,
        model: Option<&Model>,
        name: &str,
        value: &str,
    ) -> Result<(), Problem> {
        let text = |column| Condition::Text(column, vec![value.to_owned()]);
        let condition = match name {
            "model" => match model {
                Some(_) => text("model"),
                None => return Err(unknown("model", value, models.models.keys())),
            },
            "type" => {
                let events = || {
                    models.models.values().flat_map(|model| {
                        model.events.values().map(move |event| (&model.name, &event.type_name))
                    })
                };
                let Some((of, _)) = events().find(|(_, type_name)| *type_name == value) else {
                    return Err(unknown("type of event", value, events().map(|(_, type_name)| type_name)));
                };
                if let Some(model) = model.filter(|model| model.name != *of) {
                    let detail = format!("`{value}` is an event of {of}, not of {}", model.name);
                    return Err(("contradiction", detail));
                }
                // The indexes begin with the model.
                self.conditions.push(Condition::Text("model", vec![of.clone()]));
                text("type")
            }
            "aggregate_id" => {
                let id = match model {
                    Some(model) => model.parse_id(value),
                    None => Some(value).filter(|text| text.len() == 36).and_then(|text| text.parse().ok()),
                };
                let hint = "give a UUID, or `model` too and its natural key";
                Condition::Aggregate(id.ok_or(("invalid_value", format!("this is no id; {hint}")))?)
            }
            "actor" => text("actor"),
            "correlation_id" => text("correlation_id"),
            "causation_id" => text("causation_id"),
            "time[gt]" => Condition::Time(">", time(value)?),
            "time[gte]" => Condition::Time(">=", time(value)?),
            "time[lt]" => Condition::Time("<", time(value)?),
            "time[lte]" => Condition::Time("<=", time(value)?),
            "sort" => {
                self.descending = match value {
                    "time" => false,
                    "-time" => true,
                    _ => return Err(("invalid_value", "must be `time` or `-time`".into())),
                };
                return Ok(());
            }
            "limit" => {
                self.limit = limit(value)?;
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.conditions.push(condition);
        Ok(())
    }

    fn place(&self, text: &str) -> Result<Place, &'static str> {
        let (time, model, partition, offset): Place = cursor::decode(self.fingerprint, text)?;
        let time: Timestamp = time.parse().map_err(|_| "this is no cursor; its time is none")?;
        if model.contains('\0') {
            return Err("this is no cursor; its model is none");
        }
        Ok((time.to_string(), model, partition, offset))
    }

    pub(super) fn cursor(&self, last: &Entry) -> String {
        let Entry { time, model, position, .. } = last;
        cursor::encode(self.fingerprint, &(time, model, position.partition, position.offset))
    }

    /// Appends conditions, order and limit: one event more than asked for.
    pub(super) fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push("TRUE");
        for condition in &self.conditions {
            match condition {
                Condition::Text(column, values) => match values.as_slice() {
                    [value] => sql.push(format!(" AND log.{column} = ")).push_bind(value.clone()),
                    values => {
                        sql.push(format!(" AND log.{column} = ANY(")).push_bind(values.to_vec()).push(")")
                    }
                },
                Condition::Aggregate(id) => sql.push(" AND log.aggregate_id = ").push_bind(*id),
                Condition::Time(sign, time) => {
                    sql.push(format!(" AND log.time {sign} ")).push_bind(time.clone()).push("::timestamptz")
                }
            };
        }
        let (sign, direction) = if self.descending { ("<", "DESC") } else { (">", "ASC") };
        if let Some((time, model, partition, offset)) = &self.after {
            // The first condition follows from the second; by it PostgreSQL leaves out the months before.
            sql.push(format!(" AND log.time {sign}= ")).push_bind(time.clone()).push("::timestamptz");
            sql.push(format!(" AND (log.time, log.model, log.partition, log.\"offset\") {sign} ("));
            sql.push_bind(time.clone()).push("::timestamptz, ").push_bind(model.clone());
            sql.push(", ").push_bind(*partition).push(", ").push_bind(*offset).push(")");
        }
        let order = ["time", "model", "partition", "\"offset\""].map(|key| format!("log.{key} {direction}"));
        sql.push(format!(" ORDER BY {} LIMIT {}", order.join(", "), self.limit + 1));
    }
}

/// A page of one aggregate's events.
#[derive(Debug, Clone)]
pub struct EventsOfOne {
    pub(super) limit: usize,
    /// Version, partition and offset of the last event before it.
    after: Option<(i64, i32, i64)>,
    fingerprint: u64,
}

impl EventsOfOne {
    /// Reads the query string's parameters: `limit` and `after`. Errors: every fault of every parameter.
    pub fn parse(
        model: &Model,
        id: Uuid,
        params: &[(String, String)],
    ) -> Result<EventsOfOne, Vec<FieldError>> {
        const NAMES: [&str; 2] = ["limit", "after"];
        let mut errors = check_names(params, &NAMES);
        let fingerprint = fnv1a(format!("{}/{id}", model.name).as_bytes());
        let mut request = EventsOfOne { limit: DEFAULT_LIMIT, after: None, fingerprint };
        for (name, value) in params {
            let outcome = match name.as_str() {
                "limit" => limit(value).map(|limit| request.limit = limit),
                "after" => cursor::decode(fingerprint, value)
                    .map(|place| request.after = Some(place))
                    .map_err(|detail| ("invalid_cursor", detail.to_owned())),
                _ => Ok(()),
            };
            errors.extend(outcome.err().map(|problem| fault(name, problem)));
        }
        if errors.is_empty() { Ok(request) } else { Err(errors) }
    }

    pub(super) fn is_first(&self) -> bool {
        self.after.is_none()
    }

    pub(super) fn cursor(&self, last: &Entry) -> String {
        cursor::encode(self.fingerprint, &(last.version, last.position.partition, last.position.offset))
    }

    pub(super) fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        if let Some((version, partition, offset)) = self.after {
            sql.push(" AND (log.version, log.partition, log.\"offset\") > (").push_bind(version);
            sql.push(", ").push_bind(partition).push(", ").push_bind(offset).push(")");
        }
        let limit = self.limit + 1;
        sql.push(format!(" ORDER BY log.version, log.partition, log.\"offset\" LIMIT {limit}"));
    }
}

/// Unknown names, names that stand twice, and values that PostgreSQL can't take.
fn check_names(params: &[(String, String)], known: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, (name, value)) in params.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            errors.push(fault(name, unknown_parameter(name, known)));
        } else if params[..index].iter().any(|(before, _)| before == name) {
            errors.push(fault(name, ("repeated", "this parameter may stand once".into())));
        } else if value.contains('\0') {
            errors.push(fault(name, ("nul_character", "a value can't hold the character U+0000".into())));
        }
    }
    errors
}

fn unknown_parameter(name: &str, known: &[&str]) -> Problem {
    (
        "unknown_parameter",
        format!("there is no parameter `{}`; {}", clip(name), hint(name, known.iter().copied())),
    )
}

fn unknown<'a>(what: &str, value: &str, known: impl Iterator<Item = &'a String> + Clone) -> Problem {
    let hint = hint(value, known.map(String::as_str));
    ("unknown_value", format!("there is no {what} `{}`; {hint}", clip(value)))
}

/// What may have been meant, or what there is.
fn hint<'a>(text: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known
        .clone()
        .map(|candidate| (strsim::damerau_levenshtein(&clip(text), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn fault(name: &str, (code, detail): Problem) -> FieldError {
    let pointer = format!("/{}", clip(name).replace('~', "~0").replace('/', "~1"));
    FieldError { pointer, code: code.to_owned(), detail }
}

fn time(text: &str) -> Result<String, Problem> {
    let time: Timestamp = text.parse().map_err(|detail| ("invalid_value", detail))?;
    Ok(time.to_string())
}

fn limit(text: &str) -> Result<usize, Problem> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(("out_of_range", format!("must be a whole number from 1 to {MAX_LIMIT}"))),
    }
}

/// The beginning of a caller's text, for messages.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;

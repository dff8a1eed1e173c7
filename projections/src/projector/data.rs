//! The recorded fields of an event as JSON text, written straight from the values: what
//! [`stored_to_json`](writ_model::value::stored_to_json) says, without the tree in between. The event log has one of
//! these for every event.

use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use writ_model::declaration::Field;
use writ_model::{Object, Type, Value};

/// The fields of an object, under the names that they have on the wire.
pub(super) struct Data<'a> {
    pub(super) fields: &'a IndexMap<String, Field>,
    pub(super) object: &'a Object,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.object.len()))?;
        for (name, value) in self.object {
            match self.fields.get(name) {
                Some(field) => {
                    map.serialize_entry(field.wire_name(), &Part { ty: Some(&field.ty), value })?
                }
                None => map.serialize_entry(name, &Part { ty: None, value })?,
            }
        }
        map.end()
    }
}

/// A value and, if it is declared, its type.
struct Part<'a> {
    ty: Option<&'a Type>,
    value: &'a Value,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.ty, self.value) {
            (Some(Type::Object(fields)), Value::Object(object)) => {
                Data { fields, object }.serialize(serializer)
            }
            (Some(Type::List { of, .. }), Value::List(items)) => {
                serializer.collect_seq(items.iter().map(|value| Part { ty: Some(&of.ty), value }))
            }
            (_, Value::Text(text)) => serializer.serialize_str(text),
            (_, Value::Integer(number)) => serializer.serialize_i64(*number),
            (_, Value::Boolean(value)) => serializer.serialize_bool(*value),
            (_, Value::Json(json)) => json.serialize(serializer),
            (_, Value::Null) => serializer.serialize_unit(),
            (_, value) => match value.to_text() {
                Some(text) => serializer.serialize_str(&text),
                None => value.to_json().serialize(serializer),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use writ_model::Models;
    use writ_model::diagnostic::Source;
    use writ_model::value::{object_from_json, stored_to_json};

    use super::*;

    const EVERYTHING: &str = "
model: thing
fields:
  label: { type: text, renamed_from: name }
  whole: { type: integer }
  exact: { type: decimal, precision: 12, scale: 2 }
  yes: { type: boolean }
  at: { type: timestamp }
  day: { type: date }
  span: { type: duration }
  some: { type: uuid, optional: true }
  any: { type: json }
  box: { type: object, fields: { width: { type: integer, renamed_from: w }, tags: { type: list, of: text } } }
  lines: { type: list, of: { title: { type: text, renamed_from: name }, price: { type: decimal, precision: 8, scale: 2 } } }
crud: true
";

    #[test]
    fn it_says_what_the_tree_says() {
        let source = Source { name: "thing.yaml".into(), text: EVERYTHING.into() };
        let models = Models::check("test", &[source]).unwrap();
        let fields = &models.get("thing").unwrap().fields;
        let json = json!({
            "label": "a \"b\" \\ \n\t\u{1} é", "whole": -7, "exact": "1.50", "yes": true, "at": "2026-01-31T12:00:00.001Z",
            "day": "2026-01-31", "span": "PT1H30M", "some": null, "any": { "a": [1, null, { "b": 1.5 }] },
            "box": { "width": 1, "tags": ["x", "y"] }, "lines": [{ "title": "t", "price": "2.00" }],
        });
        let object = object_from_json(fields, &json, false).unwrap();
        let written = serde_json::to_string(&Data { fields, object: &object }).unwrap();
        let written: Json = serde_json::from_str(&written).unwrap();
        assert_eq!(written, stored_to_json(fields, &object));
        assert_eq!(written["name"], json["label"], "the name on the wire");
    }
}

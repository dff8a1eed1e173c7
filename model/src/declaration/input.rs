//! The input of a command: from a JSON body to typed values.

use indexmap::IndexMap;

use super::{Command, Field};
use crate::value::{FieldError, Object, Value, object_from_json, sealed_object_from_json};

/// Fields, a body, whether any of them may be absent.
type Read = fn(&IndexMap<String, Field>, &serde_json::Value, bool) -> Result<Object, Vec<FieldError>>;

impl Command {
    /// Types a JSON body by [`Command::input`]. Errors: every fault of the body with its JSON pointer.
    ///
    /// What is absent from the body: for a creating command the default, or else null. For the others a field of the
    /// state that may be absent is absent from the result too and keeps its present value; an input that is only
    /// recorded becomes its default, or else null.
    pub fn parse_input(&self, body: &serde_json::Value) -> Result<Object, Vec<FieldError>> {
        self.parse(body, object_from_json)
    }

    /// The same of a body whose secrets are sealed, as it stands in a command's record.
    pub fn parse_sealed_input(&self, body: &serde_json::Value) -> Result<Object, Vec<FieldError>> {
        self.parse(body, sealed_object_from_json)
    }

    fn parse(&self, body: &serde_json::Value, read: Read) -> Result<Object, Vec<FieldError>> {
        if self.creates || self.partial {
            return read(&self.input, body, self.partial);
        }
        let (mut given, mut errors) = match read(&self.input, body, true) {
            Ok(given) => (given, Vec::new()),
            Err(errors) => (Object::new(), errors),
        };
        let is_absent = |field: &Field| body.as_object().is_none_or(|body| field.find_in(body).is_none());
        for (name, field) in self.input.iter().filter(|(_, field)| is_absent(field)) {
            if !field.optional && field.default.is_none() && body.is_object() {
                errors.push(FieldError {
                    pointer: format!("/{name}"),
                    code: "required".into(),
                    detail: format!("is missing; `{}` needs it", self.name),
                });
            } else if !self.state_inputs.contains(name) {
                given.insert(name.clone(), field.default.clone().unwrap_or(Value::Null));
            }
        }
        if errors.is_empty() { Ok(given) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::declaration::Type;

    fn command(creates: bool, partial: bool) -> Command {
        let field = |name: &str, optional: bool| Field {
            optional,
            ..Field::plain(name, Type::Integer { min: None, max: None })
        };
        let defaulted = Field { default: Some(Value::Integer(7)), ..field("defaulted", false) };
        let fields = [field("required", false), field("optional", true), defaulted, field("remark", true)];
        Command {
            name: "change".into(),
            doc: None,
            creates,
            deletes: false,
            input: fields.into_iter().map(|field| (field.name.clone(), field)).collect(),
            state_inputs: vec!["required".into(), "optional".into(), "defaulted".into()],
            partial,
            require: vec![],
            from: vec![],
            to: None,
            set: IndexMap::new(),
            emits: "changed".into(),
        }
    }

    fn parsed(command: &Command, body: serde_json::Value) -> String {
        match command.parse_input(&body) {
            Ok(object) => crate::value::object_to_json(&object).to_string(),
            Err(errors) => errors
                .iter()
                .map(|error| format!("{} {}", error.pointer, error.code))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    #[test]
    fn a_creating_command_fills_in_what_is_absent() {
        let command = command(true, false);
        let whole = r#"{"required":1,"optional":null,"defaulted":7,"remark":null}"#;
        assert_eq!(parsed(&command, json!({ "required": 1 })), whole);
        assert_eq!(parsed(&command, json!({})), "/required required");
    }

    #[test]
    fn another_command_leaves_absent_fields_of_the_state_alone() {
        let command = command(false, false);
        assert_eq!(parsed(&command, json!({ "required": 1 })), r#"{"required":1,"remark":null}"#);
        assert_eq!(parsed(&command, json!({ "optional": null })), "/required required");
    }

    #[test]
    fn a_partial_command_takes_any_part() {
        let command = Command {
            state_inputs: command(false, true).input.into_keys().collect(),
            ..command(false, true)
        };
        assert_eq!(parsed(&command, json!({})), "{}");
        assert_eq!(parsed(&command, json!({ "optional": null })), r#"{"optional":null}"#);
        assert_eq!(
            parsed(&command, json!({ "required": "x", "other": 1 })),
            "/required wrong_type, /other unknown_field"
        );
        assert_ne!(parsed(&command, json!({ "required": null })), r#"{"required":null}"#);
        assert_eq!(parsed(&command, json!([])), " wrong_type");
    }
}

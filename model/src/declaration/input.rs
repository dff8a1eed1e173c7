//! The input of a command: from a JSON body to typed values.

use super::Command;
use crate::value::{FieldError, Object, Value, object_from_json};

impl Command {
    /// Types a JSON body by [`Command::input`]. Errors: every fault of the body with its JSON pointer.
    ///
    /// What is absent from the body: for a creating command the default, or else null. For the others a field of the
    /// state that may be absent is absent from the result too and keeps its present value; an input that is only
    /// recorded becomes its default, or else null.
    pub fn parse_input(&self, body: &serde_json::Value) -> Result<Object, Vec<FieldError>> {
        if self.creates || self.partial {
            return object_from_json(&self.input, body, self.partial);
        }
        let (mut given, mut errors) = match object_from_json(&self.input, body, true) {
            Ok(given) => (given, Vec::new()),
            Err(errors) => (Object::new(), errors),
        };
        if let Some(members) = body.as_object() {
            for (name, field) in self.input.iter().filter(|(name, _)| !members.contains_key(*name)) {
                if !field.optional && field.default.is_none() {
                    errors.push(FieldError {
                        pointer: format!("/{name}"),
                        code: "required".into(),
                        detail: format!("`{name}` is required"),
                    });
                } else if !self.state_inputs.contains(name) {
                    given.insert(name.clone(), field.default.clone().unwrap_or(Value::Null));
                }
            }
        }
        if errors.is_empty() { Ok(given) } else { Err(errors) }
    }
}

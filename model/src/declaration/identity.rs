//! Ids from natural keys: UUIDv5, so that every client and every server derives the same one without asking.

use uuid::Uuid;

use super::{KeyOf, Model, Type};
use crate::value::Value;

impl Model {
    /// The id of the aggregate with this natural key: UUIDv5 in the namespace of the model, see [`KeyOf::id`].
    /// `None` when the model has no natural key or the text is no value of its type.
    pub fn id_of_key(&self, key: &str) -> Option<Uuid> {
        derive(&self.app, &self.name, &typed(self.key_type()?, key)?)
    }

    /// The same for a value that is already typed. `None` when the model has no natural key, or for a value that
    /// can't be a key (null, an empty text, a list …).
    pub fn id_of_key_value(&self, key: &Value) -> Option<Uuid> {
        self.key_type()?;
        derive(&self.app, &self.name, key)
    }

    /// The id that the URL segment or reference `text` names: a UUID in its hyphenated form, or else a natural key.
    pub fn parse_id(&self, text: &str) -> Option<Uuid> {
        hyphenated(text).or_else(|| self.id_of_key(text))
    }

    fn key_type(&self) -> Option<&Type> {
        Some(&self.fields.get(self.key.as_ref()?)?.ty)
    }
}

impl KeyOf {
    /// The id of the aggregate of [`KeyOf::model`] with the natural key `text`: UUIDv5 of the canonical text of the key
    /// in the namespace UUIDv5(URL, `urn:writ:<app>:<model>`). `None` when the text is no value of the key's type.
    pub fn id(&self, text: &str) -> Option<Uuid> {
        derive(&self.app, &self.model, &typed(&self.ty, text)?)
    }
}

fn typed(ty: &Type, text: &str) -> Option<Value> {
    Value::from_text(ty, text).ok()
}

/// Changing this changes the id of every aggregate with a natural key.
fn derive(app: &str, model: &str, key: &Value) -> Option<Uuid> {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("urn:writ:{app}:{model}").as_bytes());
    let name = match key {
        Value::Text(text) if !text.is_empty() => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Uuid(uuid) => uuid.hyphenated().to_string(),
        _ => return None,
    };
    Some(Uuid::new_v5(&namespace, name.as_bytes()))
}

/// Only the hyphenated form counts as an id: 32 hexadecimal digits may well be a natural key.
fn hyphenated(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Type {
        Type::Text { min_length: None, max_length: None, pattern: None }
    }

    #[test]
    fn an_id_depends_on_app_model_and_key() {
        let id = derive("shop", "customer", &Value::Text("ALFKI".into()));
        assert_eq!(id.map(|id| id.to_string()).as_deref(), Some("0e6513de-f768-58f3-894a-322ed019c15c"));
        assert_ne!(id, derive("shop", "order", &Value::Text("ALFKI".into())));
        assert_ne!(id, derive("other", "customer", &Value::Text("ALFKI".into())));
        assert_ne!(id, derive("shop", "customer", &Value::Text("ALFKJ".into())));
    }

    #[test]
    fn a_reference_and_the_model_derive_the_same_id() {
        let key = KeyOf { app: "shop".into(), model: "customer".into(), ty: Box::new(text()) };
        assert_eq!(key.id("ALFKI"), derive("shop", "customer", &Value::Text("ALFKI".into())));
    }

    #[test]
    fn nothing_else_is_a_key() {
        assert_eq!(derive("shop", "customer", &Value::Null), None);
        assert_eq!(derive("shop", "customer", &Value::Text(String::new())), None);
        assert_eq!(derive("shop", "customer", &Value::List(vec![])), None);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        assert!(hyphenated("0192f0c1-6d2e-7cc3-98c4-dc0c0c07398f").is_some());
        assert!(hyphenated("0192f0c16d2e7cc398c4dc0c0c07398f").is_none());
    }
}

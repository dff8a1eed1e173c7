//! What holds for every declaration and every value.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{any_fields, any_json, any_type, declared_object, value_of};

proptest! {
    #[test]
    fn json_round_trip((fields, object) in declared_object()) {
        let json = object_to_json(&object);
        let read = object_from_json(&fields, &json, false).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        prop_assert_eq!(&read, &object);
        prop_assert_eq!(object_to_json(&read), json.clone());
        prop_assert_eq!(stored_from_json(&fields, &json).unwrap(), object);
    }

    #[test]
    fn text_round_trip((ty, value) in any_type().prop_flat_map(|ty| { let value = value_of(&ty); (Just(ty), value) })) {
        if let Some(text) = value.to_text() {
            prop_assert_eq!(Value::from_text(&ty, &text), Ok(value));
        }
    }

    #[test]
    fn fitting_values_conform((fields, object) in declared_object()) {
        for (name, field) in &fields {
            let mut errors = Vec::new();
            let value = object[name].clone();
            prop_assert_eq!(value.clone().conform(field, "", &mut errors), Some(value));
        }
    }

    #[test]
    fn any_json_is_read_or_refused(fields in any_fields(), json in any_json()) {
        let body = json!({ "part_0": json });
        match object_from_json(&fields, &body, false) {
            Ok(object) => prop_assert_eq!(object.len(), fields.len()),
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(ty in any_type(), text in any::<String>()) {
        let mut errors = Vec::new();
        let read = Value::from_json(&ty, &json!(text), "", &mut errors);
        prop_assert_eq!(read.is_none(), !errors.is_empty());
        let _ = Value::from_text(&ty, &text);
    }

    #[test]
    fn instants_in_almost_right_text(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,4})?(Z|[+-][0-9]{2}:[0-9]{2})") {
        if let Ok(instant) = text.parse::<Timestamp>() {
            prop_assert_eq!(instant.to_string().parse::<Timestamp>(), Ok(instant));
        }
    }

    #[test]
    fn durations_in_almost_right_text(text in "-?P([0-9]{1,3}D)?(T([0-9]{1,3}H)?([0-9]{1,20}M)?([0-9]{1,3}(\\.[0-9]{1,4})?S)?)?") {
        if let Ok(millis) = parse_duration(&text) {
            prop_assert_eq!(parse_duration(&format_duration(millis)), Ok(millis));
        }
    }
}

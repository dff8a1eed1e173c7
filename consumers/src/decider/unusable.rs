//! What makes a record of `writ.commands` none that this decider may decide. It goes to the dead letters, see
//! [`crate::decider`].

use writ_model::Models;
use writ_producers::envelope::CommandRecord;
use writ_producers::partitioner::partition_of;

use super::batch::Command;
use super::reservation::Step;

/// Why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the record has no value")]
    NoValue,
    #[error("the value is no command")]
    Value(#[source] serde_json::Error),
    #[error("the value is no step of a reservation, as its header says")]
    Step(#[source] serde_json::Error),
    #[error("the record has no key; that of this command is `{wanted}`")]
    NoKey { wanted: String },
    #[error("the record's key is `{found}`, and that of its command `{wanted}`")]
    Key { found: String, wanted: String },
    #[error(
        "the key `{key}` belongs to partition {wanted}, and the record stands in {found}: its producer hashes keys in \
         another way, or didn't know the number of partitions"
    )]
    Partition { key: String, wanted: i32, found: i32 },
    #[error("this server declares no model `{0}`")]
    Model(String),
}

/// The command in a record.
pub(super) fn read(record: &Command, models: &Models, partitions: i32) -> Result<CommandRecord, Unusable> {
    let value = record.original.value.as_deref().ok_or(Unusable::NoValue)?;
    let command: CommandRecord = serde_json::from_slice(value).map_err(Unusable::Value)?;
    let wanted = command.key();
    let Some(key) = record.original.key.as_deref() else { return Err(Unusable::NoKey { wanted }) };
    if key != wanted.as_bytes() {
        return Err(Unusable::Key { found: String::from_utf8_lossy(key).into_owned(), wanted });
    }
    in_its_partition(record, partitions)?;
    if models.get(&command.model).is_none() {
        return Err(Unusable::Model(command.model));
    }
    Ok(command)
}

/// The step of a reservation in a record, with the key that says about what.
pub(super) fn read_step(record: &Command, partitions: i32) -> Result<(String, Step), Unusable> {
    let value = record.original.value.as_deref().ok_or(Unusable::NoValue)?;
    let step = serde_json::from_slice(value).map_err(Unusable::Step)?;
    in_its_partition(record, partitions)?;
    let key = String::from_utf8_lossy(record.original.key.as_deref().unwrap_or_default()).into_owned();
    Ok((key, step))
}

/// Whether the record stands where its key belongs. Else another decider may own its aggregate.
pub(super) fn in_its_partition(record: &Command, partitions: i32) -> Result<(), Unusable> {
    let key = record.original.key.as_deref().unwrap_or_default();
    let wanted = partition_of(key, partitions);
    if wanted == record.partition {
        return Ok(());
    }
    let key = String::from_utf8_lossy(key).into_owned();
    Err(Unusable::Partition { key, wanted, found: record.partition })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;
    use writ_model::diagnostic::Source;
    use writ_producers::dead_letter::Original;

    use super::*;

    const PARTITIONS: i32 = 5;

    fn models() -> Models {
        let text = "model: thing\nfields:\n  name: { type: text }\ncrud: true\n".into();
        Models::check("test", &[Source { name: "thing.yaml".into(), text }]).unwrap()
    }

    fn command(model: &str, aggregate: Uuid) -> serde_json::Value {
        json!({
            "id": Uuid::nil(), "model": model, "aggregate": aggregate, "command": "create", "input": {},
            "actor": writ_model::decide::Actor::unrestricted(), "at": 0, "correlation": Uuid::nil(),
        })
    }

    fn check(
        key: Option<&str>,
        value: Option<&str>,
        partition: Option<i32>,
    ) -> Result<CommandRecord, String> {
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let record = Command {
            partition: partition.unwrap_or(partition_of(key.unwrap_or_default().as_bytes(), PARTITIONS)),
            offset: 0,
            reply_to: None,
            original: Original { key: bytes(key), value: bytes(value), ..Original::default() },
        };
        read(&record, &models(), PARTITIONS).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_decided_only_where_its_key_belongs() {
        let id = Uuid::from_u128(7);
        let key = format!("thing/{id}");
        let value = command("thing", id).to_string();
        let good = check(Some(&key), Some(&value), None).unwrap();
        assert_eq!((good.model.as_str(), good.aggregate), ("thing", id));

        let refused = |key: Option<&str>, value: Option<&str>, partition, part: &str| {
            let error = check(key, value, partition).unwrap_err();
            assert!(error.contains(part), "{part} in {error}");
        };
        let home = partition_of(key.as_bytes(), PARTITIONS);
        refused(Some(&key), Some(&value), Some((home + 1) % PARTITIONS), "belongs to partition");
        refused(None, Some(&value), None, "no key");
        refused(Some("thing/x"), Some(&value), None, "the record's key is `thing/x`");
        refused(Some(&key), None, None, "no value");
        refused(Some(&key), Some("{"), None, "no command");
        refused(Some(&key), Some("[1]"), None, "no command");
        let other = command("elsewhere", id).to_string();
        refused(Some(&format!("elsewhere/{id}")), Some(&other), None, "no model `elsewhere`");
    }
}

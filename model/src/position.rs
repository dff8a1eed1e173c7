//! A place in an event topic: what a command answers with, and what a query may wait for (`Writ-Position`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of one event: `order:5:1234` as text. A read model is there once it has applied that event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// The model whose event topic it is.
    pub model: String,
    /// Partition of `writ.<model>`.
    pub partition: i32,
    /// Offset of the event.
    pub offset: i64,
}

/// The text is no position.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a position; take the value of a `Writ-Position` header, such as `order:5:1234`")]
pub struct InvalidPosition(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.model, self.partition, self.offset)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPosition(text.to_owned());
        let mut parts = text.split(':');
        let (Some(model), Some(partition), Some(offset), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let partition: i32 = partition.parse().map_err(|_| invalid())?;
        let offset: i64 = offset.parse().map_err(|_| invalid())?;
        if model.is_empty() || partition < 0 || offset < 0 {
            return Err(invalid());
        }
        Ok(Position { model: model.to_owned(), partition, offset })
    }
}

impl TryFrom<String> for Position {
    type Error = InvalidPosition;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let position = Position { model: "order".to_owned(), partition: 5, offset: 1234 };
        assert_eq!(position.to_string(), "order:5:1234");
        assert_eq!("order:5:1234".parse(), Ok(position.clone()));
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(json, "\"order:5:1234\"");
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
        let last = format!("order:{}:{}", i32::MAX, i64::MAX);
        assert_eq!(last.parse::<Position>().unwrap().to_string(), last);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "order",
            "order:5",
            ":5:1",
            "order:-1:1",
            "order:5:-1",
            "order:5:1:",
            "order:5:9223372036854775808",
            "order:5: 1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition(text.to_owned())));
        }
        assert!(serde_json::from_str::<Position>("\"order\"").is_err());
    }
}

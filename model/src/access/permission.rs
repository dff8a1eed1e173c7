//! Permissions: what a role or an API key may do. Five forms, of which each says all of itself:
//!
//! | text | what it allows |
//! |---|---|
//! | `order.place` | the command `place` of the model `order` |
//! | `order.read` | reading the model `order` |
//! | `order.*` | reading `order`, and all of its commands |
//! | `*.read` | reading every model |
//! | `*` | everything |
//!
//! A permission is given to a role and adds to the `allow` rules: who has one isn't asked for the rule. As the scope of an API
//! key it takes away: what none of them allows, the key may not do, whatever its account may.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::declaration::is_name;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What someone wants to do with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// Any query.
    Read,
    /// The command with this name.
    Command(&'a str),
}

/// One permission. The order is that in which lists show them: the widest first, then by model, its reading before its
/// commands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// `*`
    Everything,
    /// `*.read`
    ReadEverything,
    /// Something of one model.
    Model {
        /// Its name.
        model: String,
        /// What of it.
        action: Action,
    },
}

/// What a permission allows with its model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `*`
    Any,
    /// `read`
    Read,
    /// A command. None is called `read`: the language of the models keeps that name.
    Command(String),
}

/// Not a permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither `*` nor two names with a dot between.
    #[error("{text:?} isn't a permission: write `model.command`, `model.read`, `model.*`, `*.read` or `*`")]
    Form {
        /// As given.
        text: String,
    },
    /// A part that no model or command is called.
    #[error("{name:?} in {text:?} isn't a name: a lower-case letter, then up to 47 of a-z, 0-9 and `_`")]
    Name {
        /// The part.
        name: String,
        /// As given.
        text: String,
    },
    /// A command by its name in every model: what it would do depends on models yet to come.
    #[error("{text:?} would be a command of every model; only `*.read` and `*` are for all of them")]
    EveryModel {
        /// As given.
        text: String,
    },
}

impl Permission {
    /// Whether it lets someone do this.
    pub fn allows(&self, model: &str, access: Access<'_>) -> bool {
        match self {
            Permission::Everything => true,
            Permission::ReadEverything => access == Access::Read,
            Permission::Model { model: own, action } => {
                own == model
                    && match action {
                        Action::Any => true,
                        Action::Read => access == Access::Read,
                        Action::Command(command) => access == Access::Command(command),
                    }
            }
        }
    }

    /// Whether it allows all that the other one does: nobody hands out more than they have.
    pub fn covers(&self, other: &Permission) -> bool {
        match (self, other) {
            (Permission::Everything, _) => true,
            (_, Permission::Everything) => false,
            (_, Permission::ReadEverything) => *self == Permission::ReadEverything,
            (_, Permission::Model { model, action: Action::Any }) => {
                matches!(self, Permission::Model { model: own, action: Action::Any } if own == model)
            }
            (_, Permission::Model { model, action: Action::Read }) => self.allows(model, Access::Read),
            (_, Permission::Model { model, action: Action::Command(command) }) => {
                self.allows(model, Access::Command(command))
            }
        }
    }
}

impl FromStr for Permission {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "*" {
            return Ok(Permission::Everything);
        }
        let form = || Error::Form { text: text.to_owned() };
        let (model, action) = text.split_once('.').ok_or_else(form)?;
        let name = |name: &str| match name {
            "" => Err(form()),
            name if is_name(name) => Ok(name.to_owned()),
            name => Err(Error::Name { name: name.to_owned(), text: text.to_owned() }),
        };
        if model == "*" {
            return match action {
                "read" => Ok(Permission::ReadEverything),
                // The same as `*`, which is how it is written.
                "*" => Err(form()),
                _ => name(action).and(Err(Error::EveryModel { text: text.to_owned() })),
            };
        }
        let model = name(model)?;
        let action = match action {
            "*" => Action::Any,
            "read" => Action::Read,
            command => Action::Command(name(command)?),
        };
        Ok(Permission::Model { model, action })
    }
}

/// As it is read.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Permission::Everything => f.write_str("*"),
            Permission::ReadEverything => f.write_str("*.read"),
            Permission::Model { model, action: Action::Any } => write!(f, "{model}.*"),
            Permission::Model { model, action: Action::Read } => write!(f, "{model}.read"),
            Permission::Model { model, action: Action::Command(command) } => write!(f, "{model}.{command}"),
        }
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Some permissions, each once, in the order in which they are shown. None of them allow nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permissions(BTreeSet<Permission>);

impl Permissions {
    /// Whether one of them lets someone do this.
    pub fn allow(&self, model: &str, access: Access<'_>) -> bool {
        self.0.iter().any(|permission| permission.allows(model, access))
    }

    /// Whether each of the others is covered by one of these.
    pub fn cover(&self, others: &Permissions) -> bool {
        others.iter().all(|other| self.0.iter().any(|permission| permission.covers(other)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.0.iter()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Permissions(permissions.into_iter().collect())
    }
}

//! Secret fields: texts that nobody reads in clear, but for the api that takes them in.
//!
//! The api checks a secret against its constraints and seals it before the command is put into Kafka. From there on it is
//! a text of [`PREFIX`] and what the key's owner can open: in the command, the event, the state, every table. So no
//! expression can use a secret, and a decider that finds one in clear refuses the command.

use serde_json::Value as Json;

use crate::declaration::{Command, Field};

/// What every sealed value begins with: the form, and its version.
pub const PREFIX: &str = "sealed:1:";

/// Whether a text has the form of a sealed value. Anyone can write such a text: what comes from outside is sealed whatever
/// it looks like.
pub fn is_sealed(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|rest| rest.contains(':'))
}

impl Command {
    /// Replaces every secret in a body that [`Command::parse_input`] takes by what `seal` makes of it, given the field and
    /// the text.
    pub fn seal(&self, body: &mut Json, mut seal: impl FnMut(&Field, &str) -> String) {
        let Json::Object(members) = body else { return };
        for field in self.input.values().filter(|field| field.secret) {
            for name in field.names() {
                if let Some(Json::String(text)) = members.get_mut(name) {
                    *text = seal(field, text);
                }
            }
        }
    }
}

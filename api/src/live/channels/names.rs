//! What channels are called in Redis, each name made in one place.

use uuid::Uuid;

use crate::rate_limit::hashed;

/// Letters of the name of a room.
const ROOM: usize = 32;
/// What the messages of a room are published under, behind the room.
const SAY: &str = ":say";

/// The names of one process.
#[derive(Debug)]
pub(super) struct Names {
    /// What all keys begin with.
    prefix: String,
    /// This process, new at each start.
    pub(super) process: Uuid,
}

/// What arrives at the process's connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum From<'a> {
    /// Said in a room.
    Room(&'a str),
    /// For this process alone.
    Own,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Names {
        Names { prefix: format!("{prefix}:channel"), process: Uuid::new_v4() }
    }

    /// The name of one channel of a declaration: of an aggregate, of a key, or the only one. It doesn't say which.
    pub(super) fn room(channel: &str, which: &str) -> String {
        hashed(&[b"channel", channel.as_bytes(), which.as_bytes()])
    }

    /// The hash of its members.
    pub(super) fn members(&self, room: &str) -> String {
        format!("{}:{room}:members", self.prefix)
    }

    /// Where its messages are published.
    pub(super) fn say(&self, room: &str) -> String {
        format!("{}:{room}{SAY}", self.prefix)
    }

    /// Where what is for this process alone is published.
    pub(super) fn own(&self) -> String {
        format!("{}:to:{}", self.prefix, self.process)
    }

    /// What the leases of processes begin with.
    pub(super) fn leases(&self) -> String {
        format!("{}:process:", self.prefix)
    }

    /// The number of the process's last connection.
    pub(super) fn fence(&self) -> String {
        format!("{}:fence:{}", self.prefix, self.process)
    }

    pub(super) fn lease(&self) -> String {
        format!("{}{}", self.leases(), self.process)
    }

    /// Where a message has come from.
    pub(super) fn from<'a>(&self, published: &'a str) -> Option<From<'a>> {
        let rest = published.strip_prefix(&*self.prefix)?.strip_prefix(':')?;
        match rest.strip_suffix(SAY) {
            Some(room) if room.len() == ROOM => Some(From::Room(room)),
            Some(_) => None,
            None => (published == self.own()).then_some(From::Own),
        }
    }

    /// The room that a list is of, and the list.
    pub(super) fn list(text: &str) -> Option<(&str, &str)> {
        text.strip_prefix('l')?.split_at_checked(ROOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_message_comes_from_is_in_its_name() {
        let names = Names::new("shop");
        let room = Names::room("desk", "1");
        assert_eq!(names.from(&names.say(&room)), Some(From::Room(&room)));
        assert_eq!(names.from(&names.own()), Some(From::Own));
        assert_eq!(names.from(&Names::new("shop").own()), None, "another process's");
        assert_eq!(names.from("shop:channel::say"), None);
        assert_eq!(Names::list(&format!("l{room}[]")), Some((&room[..], "[]")));
        assert_ne!(Names::room("desk", ""), Names::room("des", "k"));
    }
}

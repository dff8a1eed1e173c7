//! Who may join a channel, and who may send into it: by permission (`desk.join`, `desk.send`), else by its rule.

use uuid::Uuid;

use super::{Access, Denied, Door, door};
use crate::decide::Actor;
use crate::declaration::Channel;
use crate::expression::{CHANNEL_KEY, Scope};
use crate::value::{Object, Timestamp, Value};

/// What somebody wants to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// To be there: hear what is said, see who is there, say of oneself what presence has.
    Join,
    /// To broadcast.
    Send,
}

impl Deed {
    /// As permissions name it.
    pub const fn name(self) -> &'static str {
        match self {
            Deed::Join => "join",
            Deed::Send => "send",
        }
    }
}

/// Which of the channels of a declaration, and what its rules name.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The aggregate and its state, of a channel with `of`.
    pub aggregate: Option<(Uuid, &'a Object)>,
    /// Of a channel with `key`.
    pub key: Option<&'a Value>,
}

/// Whether the actor may do it, at the time `now`. Whether they may read the aggregate is another question.
pub fn may_use(
    channel: &Channel,
    deed: Deed,
    of: Of<'_>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), Denied> {
    let (name, access) = (channel.name.clone(), deed.name());
    match door(&name, actor, Access::Command(access)) {
        Door::Open => return Ok(()),
        Door::Closed => return Err(Denied::OutOfScope { model: name, access: access.to_owned() }),
        Door::ByRule => {}
    }
    let rule = match deed {
        Deed::Join => &channel.join,
        Deed::Send => &channel.send,
    };
    let Some(rule) = rule else { return Err(Denied::NoRule { model: name, command: access.to_owned() }) };
    let input: Object = of.key.map(|key| (CHANNEL_KEY.to_owned(), key.clone())).into_iter().collect();
    let (id, state) = of.aggregate.unzip();
    let scope = Scope { id: id.unwrap_or_default(), input: &input, state, now, actor };
    match rule.evaluate(&scope)? {
        Value::Boolean(true) => Ok(()),
        _ => Err(Denied::NotAllowed { rule: rule.source.clone() }),
    }
}

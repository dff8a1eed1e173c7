//! Compare-and-set: registers that are written with `If-Match`, by what answers of writes said.
//!
//! The check of linearizability searches all orders of the commands of one register. So each is used for some dozens
//! of commands only; then a new one takes its slot.

use parking_lot::Mutex;
use rand::Rng as _;

use super::client::Client;
use super::zipf::zipf;
use crate::history::{Outcome, Request};

/// Registers in use at a time.
const SLOTS: usize = 128;
/// Commands of one register.
const COMMANDS: u32 = 40;

/// What is known of the register in a slot.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// Empty: none yet.
    name: String,
    used: u32,
    /// The highest version in an answer.
    version: u64,
    /// A client is making the next one.
    creating: bool,
}

#[derive(Debug)]
pub(super) struct Registers {
    slots: Mutex<Vec<Slot>>,
}

impl Default for Registers {
    fn default() -> Self {
        Self { slots: Mutex::new(vec![Slot::default(); SLOTS]) }
    }
}

impl Registers {
    /// One command on a register: a write with `If-Match`, one without, or a touch, whose answer reads.
    pub(super) async fn step(&self, client: &mut Client) {
        let nth = zipf(&mut client.rng, SLOTS);
        let (slot, create) = {
            let slot = &mut self.slots.lock()[nth];
            let create = !slot.creating && (slot.name.is_empty() || slot.used >= COMMANDS);
            slot.creating |= create;
            slot.used += 1;
            (slot.clone(), create)
        };
        if create {
            return self.create(client, nth).await;
        }
        // The one in the slot is used up, its successor not there yet.
        if slot.creating {
            return;
        }
        let value = Some(client.rng.random_range(0..1_000_000));
        let request = Request { model: "register", target: slot.name.clone(), ..Request::default() };
        let request = match client.rng.random_range(0..10) {
            0..2 => Request { command: "touch", ..request },
            2..4 => Request { command: "write", value, ..request },
            // What the client knows is old on purpose.
            4 if slot.version > 1 => {
                Request { command: "write", value, if_match: Some(slot.version - 1), ..request }
            }
            _ => Request { command: "write", value, if_match: Some(slot.version), ..request },
        };
        let version = match client.send(request).await {
            Outcome::Committed(acknowledged) => acknowledged.version,
            Outcome::Refused { version: Some(version), .. } => version,
            _ => return,
        };
        let known = &mut self.slots.lock()[nth];
        if known.name == slot.name {
            known.version = known.version.max(version);
        }
    }

    async fn create(&self, client: &mut Client, nth: usize) {
        let name = client.name("r");
        let value = Some(client.rng.random_range(0..1_000_000));
        let request = Request {
            model: "register",
            command: "create",
            target: name.clone(),
            value,
            ..Request::default()
        };
        let created = matches!(client.send(request).await, Outcome::Committed(_));
        let slot = &mut self.slots.lock()[nth];
        *slot = match created {
            true => Slot { name, used: 1, version: 1, creating: false },
            false => Slot::default(),
        };
    }
}

//! `reactions:` of a model: what its events, or the time, set off. What a reaction does in a case is worked out by
//! [`crate::react`].

mod action;
mod cycles;
mod names;
mod options;
mod read;
mod target;
mod trigger;

use indexmap::IndexMap;

use crate::cron::{CatchUp, Cron};
use crate::expression::Compiled;

pub(super) use read::read_all;

/// One item of `reactions:`.
#[derive(Debug)]
pub struct Reaction {
    /// Lower snake case, unique in the model, and part of every id that comes of the reaction: another name makes another
    /// reaction of it.
    pub name: String,
    /// What sets it off.
    pub trigger: Trigger,
    /// The name of an item, and the list whose items it is done for, each once. Null counts as an empty list.
    pub for_each: Option<(String, Compiled)>,
    /// A condition; asked for each item.
    pub when: Option<Compiled>,
    /// When it is done, if not at once.
    pub delay: Option<Delay>,
    /// Events of the model that call it off while it waits. Only with a delay.
    pub unless: Vec<String>,
    /// What it does.
    pub action: Action,
    /// Whether one of its expressions names `state`, which has to be looked up then.
    pub uses_state: bool,
}

/// What sets a reaction off.
#[derive(Debug)]
pub enum Trigger {
    /// Each of these events of the model.
    On(Vec<String>),
    /// The time.
    Every(Box<Every>),
}

/// `every:` and what belongs to it.
#[derive(Debug)]
pub struct Every {
    /// When.
    pub cron: Cron,
    /// What becomes of times at which no server was there.
    pub catch_up: CatchUp,
    /// The longest time by which a tick is put off, in milliseconds. Which part of it follows from the tick alone.
    pub jitter: i64,
}

/// When a reaction is done.
#[derive(Debug)]
pub enum Delay {
    /// So long after the event: a duration. A negative one is none.
    After(Compiled),
    /// At this time. Null: never.
    At(Compiled),
}

/// What a reaction does.
#[derive(Debug)]
pub enum Action {
    /// It sends a command.
    Command {
        /// Which.
        send: Sending,
        /// What is sent when that one is refused.
        on_rejected: Option<Sending>,
    },
    /// It tells somebody.
    Notify(Notify),
    /// It calls the webhooks that are registered for a type.
    Webhook(Webhook),
    /// It puts work into a queue for external workers.
    Queue(Queue),
}

/// A command that is sent.
#[derive(Debug)]
pub struct Sending {
    /// The command's model.
    pub model: String,
    /// Its name there.
    pub command: String,
    /// The id of the aggregate; null: nothing is sent. `None`: the aggregate of the event, or for a creating command the new one.
    pub to: Option<Compiled>,
    /// Inputs and their values.
    pub input: IndexMap<String, Compiled>,
}

/// A notification.
#[derive(Debug)]
pub struct Notify {
    /// The id of who is told; null: nobody.
    pub account: Compiled,
    /// The ways in which they are told.
    pub channels: Vec<NotificationChannel>,
    /// A template, as written.
    pub title: String,
    /// A template, as written.
    pub body: Option<String>,
}

/// A way to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationChannel {
    /// The list of the console and of the product's own pages.
    Inbox,
    /// The phone or the browser.
    Push,
    /// A mail.
    Email,
}

impl NotificationChannel {
    /// All of them with their names in the model language.
    pub const ALL: [(&'static str, NotificationChannel); 3] = [
        ("inbox", NotificationChannel::Inbox),
        ("push", NotificationChannel::Push),
        ("email", NotificationChannel::Email),
    ];
}

/// A call of webhooks.
#[derive(Debug)]
pub struct Webhook {
    /// The type that receivers register for, such as `order.shipped`.
    pub kind: String,
    /// How it is tried.
    pub options: TaskOptions,
}

/// Work for a queue.
#[derive(Debug)]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// What the worker gets, by name.
    pub input: IndexMap<String, Compiled>,
    /// How it is tried.
    pub options: TaskOptions,
}

/// How a task is tried, with what holds where the model says nothing.
#[derive(Debug)]
pub struct TaskOptions {
    /// 0 to 9; the highest first. By default 5.
    pub priority: u8,
    /// How often it is tried at most. By default 10.
    pub attempts: u32,
    /// The pauses between two attempts.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds. By default five minutes.
    pub timeout: i64,
    /// What makes two tasks the same.
    pub unique: Option<TaskUnique>,
}

/// Pauses between attempts, each longer than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause, in milliseconds. By default ten seconds.
    pub first: i64,
    /// By what the next one is longer, in hundredths: 200 is twice as long, as by default.
    pub factor_hundredths: u32,
    /// The longest pause, in milliseconds. By default an hour.
    pub max: i64,
}

/// `unique:` of a task.
#[derive(Debug)]
pub struct TaskUnique {
    /// Tasks of one reaction with the same key are the same. Null: the same as no other.
    pub key: Compiled,
    /// So long after the first one another isn't made, in milliseconds.
    pub within: i64,
}

impl Backoff {
    /// The pause after so many failed attempts, in milliseconds; without the jitter that whoever waits adds.
    pub fn pause(&self, failed: u32) -> i64 {
        let mut pause = i128::from(self.first);
        for _ in 1..failed {
            if pause >= i128::from(self.max) {
                break;
            }
            // Rounded up: a factor above 1 lengthens the shortest pause too.
            pause = (pause * i128::from(self.factor_hundredths) + 99) / 100;
        }
        i64::try_from(pause).unwrap_or(self.max).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest() {
        let backoff = Backoff { first: 10_000, factor_hundredths: 200, max: 60_000 };
        assert_eq!(
            [0, 1, 2, 3, 4, 5, u32::MAX].map(|n| backoff.pause(n)),
            [10_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]
        );
        let even = Backoff { factor_hundredths: 100, ..backoff };
        assert_eq!(even.pause(1000), 10_000);
        let longest = Backoff { first: 1, factor_hundredths: 1000, max: i64::MAX };
        assert_eq!(longest.pause(100), i64::MAX);
    }
}

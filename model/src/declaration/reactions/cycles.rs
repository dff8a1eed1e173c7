//! Cycles of immediate commands: event, command, its event, and so on back to the first one. Each turn costs a few
//! milliseconds and none comes to an end by itself, so a cycle that nothing breaks is named, with every step.
//!
//! What waits (`after`, `at`), asks (`when`) or can be called off (`unless`) breaks a cycle: it is up to the author whether
//! that ever ends it. So does a refused command; but whether it is refused, the declaration doesn't tell.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::super::Model;
use super::super::report::Report;
use super::super::yaml::Node;
use super::{Action, Trigger};

/// Of model and reaction the number of the file and the place in it.
pub(super) type Places = HashMap<(String, String), (usize, Range<usize>)>;

/// Cycles that are named. Who has more begins with these.
const MOST: usize = 10;

/// An event that sets off a command at once.
struct Step<'m> {
    model: &'m str,
    event: &'m str,
    reaction: &'m str,
    /// Nodes: what the step leads from and to.
    from: usize,
    to: usize,
    command: String,
}

/// Warns of every cycle at one of its reactions.
pub(super) fn warn(
    models: &IndexMap<String, Arc<Model>>,
    places: &Places,
    files: &mut [(Report<'_>, Vec<Node>)],
) {
    let (events, steps) = steps(models);
    let mut leads: Vec<Vec<usize>> = vec![Vec::new(); events];
    for (at, step) in steps.iter().enumerate() {
        leads[step.from].push(at);
    }
    trim(&steps, &mut leads);
    let mut told: HashSet<usize> = HashSet::new();
    let mut found = 0;
    for at in 0..steps.len() {
        if told.contains(&at) || !leads[steps[at].from].contains(&at) {
            continue;
        }
        let Some(way) = way_back(&steps, &leads, at) else { continue };
        found += 1;
        if found > MOST {
            return;
        }
        told.extend(&way);
        let step = &steps[at];
        let Some((file, span)) = places.get(&(step.model.to_owned(), step.reaction.to_owned())) else {
            continue;
        };
        let round: Vec<String> = way
            .iter()
            .map(|at| {
                let Step { model, event, reaction, command, .. } = &steps[*at];
                format!("`{model}.{event}` sends `{command}` (reaction `{reaction}`)")
            })
            .collect();
        let message = format!(
            "these reactions set each other off without an end: {}, which leads to `{}.{}` again",
            round.join(", "),
            step.model,
            step.event
        );
        let hint = "ask in one of them with `when` whether there is still something to do";
        files[*file].0.warning(span, message, hint);
    }
}

/// All steps, and the number of events that they are between.
fn steps(models: &IndexMap<String, Arc<Model>>) -> (usize, Vec<Step<'_>>) {
    let mut events: IndexSet<(&str, &str)> = IndexSet::new();
    let mut steps = Vec::new();
    for model in models.values() {
        for reaction in &model.reactions {
            let (Trigger::On(on), Action::Command { send, .. }) = (&reaction.trigger, &reaction.action)
            else {
                continue;
            };
            if reaction.when.is_some() || reaction.delay.is_some() {
                continue;
            }
            let Some(target) = models.get(&send.model) else { continue };
            let Some(command) = target.commands.get(&send.command) else { continue };
            let (to, _) = events.insert_full((&target.name, &command.emits));
            for event in on {
                let (from, _) = events.insert_full((&model.name, event));
                let command = format!("{}.{}", send.model, send.command);
                steps.push(Step { model: &model.name, event, reaction: &reaction.name, from, to, command });
            }
        }
    }
    (events.len(), steps)
}

/// Takes out steps that lead to an event after which nothing comes, again and again. What is left is on a cycle, or on the way
/// to one.
fn trim(steps: &[Step<'_>], leads: &mut [Vec<usize>]) {
    let mut into: Vec<Vec<usize>> = vec![Vec::new(); leads.len()];
    for (at, step) in steps.iter().enumerate() {
        into[step.to].push(at);
    }
    let mut ends: Vec<usize> = (0..leads.len()).filter(|event| leads[*event].is_empty()).collect();
    while let Some(end) = ends.pop() {
        for at in &into[end] {
            let from = steps[*at].from;
            leads[from].retain(|other| other != at);
            if leads[from].is_empty() {
                ends.push(from);
            }
        }
    }
}

/// The shortest way that begins with the step `first` and ends where it begins. `None`: there is none.
fn way_back(steps: &[Step<'_>], leads: &[Vec<usize>], first: usize) -> Option<Vec<usize>> {
    let goal = steps[first].from;
    // Of each event the step by which it was reached first.
    let mut reached: HashMap<usize, usize> = HashMap::from([(steps[first].to, first)]);
    let mut next = VecDeque::from([steps[first].to]);
    while let Some(event) = next.pop_front() {
        if event == goal {
            let mut way = vec![reached[&event]];
            while let Some(last) = way.last().filter(|last| **last != first) {
                way.push(reached[&steps[*last].from]);
            }
            way.reverse();
            return Some(way);
        }
        for at in &leads[event] {
            if let std::collections::hash_map::Entry::Vacant(entry) = reached.entry(steps[*at].to) {
                entry.insert(*at);
                next.push_back(steps[*at].to);
            }
        }
    }
    None
}

//! Compare-and-set: the history of each register is that of one register that does one command at a time.

use std::collections::BTreeMap;

use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

use super::Check;
use crate::history::{Operation, Outcome};

/// What a register is.
#[derive(Debug, Clone, Default)]
struct Register {
    version: u64,
    value: i64,
}

#[derive(Debug, Clone)]
enum Command {
    Create(i64),
    Write { value: i64, if_match: Option<u64> },
    Touch,
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    /// Version and value after the command.
    Done(u64, i64),
    /// The present version.
    Mismatch(u64),
    Exists,
    NotFound,
}

impl SequentialSpec for Register {
    type Op = Command;
    type Ret = Answer;

    fn invoke(&mut self, command: &Command) -> Answer {
        match command {
            Command::Create(_) if self.version > 0 => return Answer::Exists,
            Command::Create(value) => self.value = *value,
            _ if self.version == 0 => return Answer::NotFound,
            Command::Write { if_match: Some(version), .. } if *version != self.version => {
                return Answer::Mismatch(self.version);
            }
            Command::Write { value, .. } => self.value = *value,
            Command::Touch => {}
        }
        self.version += 1;
        Answer::Done(self.version, self.value)
    }
}

/// Every register's history is linearizable. Commands without an answer may have been done or not.
pub(super) fn registers(operations: &[Operation]) -> Check {
    let mut check = Check::new("The compare-and-set history of every register is linearizable.");
    let mut by_name: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.request.model == "register") {
        by_name.entry(&operation.request.target).or_default().push(operation);
    }
    let mut commands = 0;
    for (name, history) in &by_name {
        commands += history.len();
        match is_linearizable(history) {
            Ok(true) => {}
            Ok(false) => check.violated(format!("register {name}: {} commands have no order", history.len())),
            Err(fault) => check.violated(format!("register {name}: {fault}")),
        }
    }
    check.examined(by_name.len(), "registers");
    check.examined(commands, "commands");
    check
}

fn is_linearizable(history: &[&Operation]) -> Result<bool, String> {
    // An answer and the sending of a next command in the same microsecond: they may overlap, so the sending goes first.
    let mut steps = Vec::new();
    for (nth, operation) in history.iter().enumerate() {
        steps.push((operation.invoked, false, nth));
        if operation.outcome != Outcome::Unknown {
            steps.push((operation.returned, true, nth));
        }
    }
    steps.sort_unstable();
    let mut tester = LinearizabilityTester::new(Register::default());
    for (_, returns, nth) in steps {
        // Each command is a thread of its own; their times alone order them.
        match returns {
            false => tester.on_invoke(nth, command(history[nth])).map(|_| ())?,
            true => tester.on_return(nth, answer(history[nth])?).map(|_| ())?,
        }
    }
    Ok(tester.is_consistent())
}

fn command(operation: &Operation) -> Command {
    let value = operation.request.value.unwrap_or(0);
    match operation.request.command {
        "create" => Command::Create(value),
        "write" => Command::Write { value, if_match: operation.request.if_match },
        _ => Command::Touch,
    }
}

fn answer(operation: &Operation) -> Result<Answer, String> {
    let odd = || format!("{} was answered with {:?}", operation.name(), operation.outcome);
    match &operation.outcome {
        Outcome::Committed(answer) => Ok(Answer::Done(answer.version, answer.register.ok_or_else(odd)?)),
        Outcome::Refused { kind, version } => match (kind.as_str(), version) {
            ("version-mismatch", Some(version)) => Ok(Answer::Mismatch(*version)),
            ("already-exists", _) => Ok(Answer::Exists),
            ("not-found", _) => Ok(Answer::NotFound),
            _ => Err(odd()),
        },
        Outcome::Unknown => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use writ_model::Value;

    use super::*;
    use crate::checks::testing::{event, operation, request};
    use crate::history::Request;

    /// A command of one register that ended at `version` with `value`.
    fn done(command: &'static str, if_match: Option<u64>, (version, value): (u64, i64)) -> Operation {
        let event = event("register", "written", 1, version, "t").with("value", Value::Integer(value));
        operation(&event, Request { value: Some(value), if_match, ..request("register", command) })
    }

    fn at(invoked: u64, returned: u64, operation: Operation) -> Operation {
        Operation { invoked, returned, ..operation }
    }

    fn violations(operations: &[Operation]) -> usize {
        registers(operations).violations.len()
    }

    #[test]
    fn writes_one_after_another_are_fine() {
        let mut mismatch = at(40, 50, done("write", Some(1), (3, 9)));
        mismatch.outcome = Outcome::Refused { kind: "version-mismatch".into(), version: Some(2) };
        let history = [
            at(0, 10, done("create", None, (1, 5))),
            at(20, 30, done("write", Some(1), (2, 6))),
            mismatch,
            at(60, 70, done("touch", None, (3, 6))),
        ];
        assert_eq!(violations(&history), 0);
    }

    #[test]
    fn two_winners_of_one_version_are_found() {
        let history = [
            at(0, 10, done("create", None, (1, 5))),
            at(20, 40, done("write", Some(1), (2, 6))),
            at(20, 40, done("write", Some(1), (2, 7))),
        ];
        assert_eq!(violations(&history), 1);
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [
            at(0, 10, done("create", None, (1, 5))),
            at(20, 30, done("write", None, (2, 6))),
            at(40, 50, done("touch", None, (3, 5))),
        ];
        assert_eq!(violations(&history), 1);
    }

    #[test]
    fn a_wrong_refusal_is_found() {
        let mut mismatch = at(20, 30, done("write", Some(1), (2, 6)));
        mismatch.outcome = Outcome::Refused { kind: "version-mismatch".into(), version: Some(1) };
        assert_eq!(violations(&[at(0, 10, done("create", None, (1, 5))), mismatch]), 1);
    }

    #[test]
    fn an_unknown_write_may_explain_what_follows() {
        let mut unknown = at(20, 30, done("write", None, (2, 6)));
        unknown.outcome = Outcome::Unknown;
        let history = |value| {
            [
                at(0, 10, done("create", None, (1, 5))),
                unknown.clone(),
                at(40, 50, done("touch", None, (3, value))),
            ]
        };
        assert_eq!(violations(&history(6)), 0);
        assert_eq!(violations(&history(7)), 1);
    }
}

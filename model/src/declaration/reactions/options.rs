//! Literals of a reaction: durations, numbers, and how a task is tried.

use std::ops::{Range, RangeInclusive};

use super::super::report::{Report, shown};
use super::super::yaml::{self, Members, Node};
use super::names::Context;
use super::{Backoff, TaskOptions, TaskUnique};
use crate::expression::Expected;
use crate::expression::convert::parse_duration;
use crate::expression::types::Ty;
use crate::value::format_duration;

const SECOND: i64 = 1000;
const HOUR: i64 = 60 * 60 * SECOND;
const DAY: i64 = 24 * HOUR;

const PRIORITIES: RangeInclusive<u64> = 0..=9;
const ATTEMPTS: RangeInclusive<u64> = 1..=1000;
/// Hundredths.
const FACTORS: RangeInclusive<u32> = 100..=10_000;
const PAUSES: RangeInclusive<i64> = 100..=30 * DAY;
const TIMEOUTS: RangeInclusive<i64> = SECOND..=7 * DAY;
const WITHIN: RangeInclusive<i64> = SECOND..=366 * DAY;

const DEFAULT_PRIORITY: u8 = 5;
const DEFAULT_ATTEMPTS: u32 = 10;
const DEFAULT_TIMEOUT: i64 = 5 * 60 * SECOND;
const DEFAULT_BACKOFF: Backoff = Backoff { first: 10 * SECOND, factor_hundredths: 200, max: HOUR };

/// `24h`, `1h30m` or `PT24H`, in milliseconds. `None`: it is none.
pub(super) fn duration_of(text: &str) -> Option<i64> {
    parse_duration(text).ok()
}

/// The duration at `node`, within bounds.
pub(super) fn duration(
    report: &mut Report<'_>,
    node: &Node,
    what: &str,
    bounds: RangeInclusive<i64>,
) -> Option<i64> {
    let hint = "write it as `90s`, `24h`, `1h30m` or `PT24H`";
    let text = yaml::text(report, node, hint)?;
    let Some(millis) = duration_of(text) else {
        report.error(&node.span, format!("{} is no duration", shown(text)), hint);
        return None;
    };
    if !bounds.contains(&millis) {
        let (least, most) = (format_duration(*bounds.start()), format_duration(*bounds.end()));
        report.error(&node.span, format!("`{what}` is from {least} to {most}"), "take one in between");
        return None;
    }
    Some(millis)
}

/// The whole number at `node`, within bounds.
fn number(report: &mut Report<'_>, node: &Node, what: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
    let number = node.scalar().filter(|scalar| scalar.is_plain()).and_then(|scalar| scalar.text.parse().ok());
    let number = number.filter(|number| bounds.contains(number));
    if number.is_none() {
        let (least, most) = (bounds.start(), bounds.end());
        let message = format!("`{what}` is a whole number from {least} to {most}, found {}", node.what());
        report.error(&node.span, message, format!("write it without quotes: `{what}: {most}`"));
    }
    number
}

/// How the task of the reaction is tried.
pub(super) fn read(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    members: &Members<'_>,
) -> Option<TaskOptions> {
    let before = report.len();
    let priority = members.value("priority").and_then(|node| number(report, node, "priority", PRIORITIES));
    let attempts = members.value("attempts").and_then(|node| number(report, node, "attempts", ATTEMPTS));
    let backoff = members.value("backoff").and_then(|node| backoff(report, node));
    let timeout = members.value("timeout").and_then(|node| duration(report, node, "timeout", TIMEOUTS));
    let unique = members.value("unique").and_then(|node| unique(report, context, node));
    (report.len() == before).then(|| TaskOptions {
        priority: priority.and_then(|number| u8::try_from(number).ok()).unwrap_or(DEFAULT_PRIORITY),
        attempts: attempts.and_then(|number| u32::try_from(number).ok()).unwrap_or(DEFAULT_ATTEMPTS),
        backoff: backoff.unwrap_or(DEFAULT_BACKOFF),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        unique,
    })
}

fn backoff(report: &mut Report<'_>, node: &Node) -> Option<Backoff> {
    let members = yaml::members(report, node, "`backoff`", &["first", "factor", "max"])?;
    let mut pause = |key: &str| members.value(key).map(|node| duration(report, node, key, PAUSES));
    let (first, max) = (pause("first"), pause("max"));
    let factor = members.value("factor").map(|node| factor(report, node));
    // What is given has to be right, what isn't has its default.
    let backoff = Backoff {
        first: first.unwrap_or(Some(DEFAULT_BACKOFF.first))?,
        factor_hundredths: factor.unwrap_or(Some(DEFAULT_BACKOFF.factor_hundredths))?,
        max: max.unwrap_or(Some(DEFAULT_BACKOFF.max))?,
    };
    if backoff.first > backoff.max {
        let (first, max) = (format_duration(backoff.first), format_duration(backoff.max));
        let message = format!("the first pause, {first}, is longer than the longest one, {max}");
        report.error(&node.span, message, "raise `max` or lower `first`");
        return None;
    }
    Some(backoff)
}

fn factor(report: &mut Report<'_>, node: &Node) -> Option<u32> {
    let scalar = node.scalar().filter(|scalar| scalar.is_number());
    let factor = scalar.and_then(|scalar| hundredths(&scalar.text)).filter(|factor| FACTORS.contains(factor));
    if factor.is_none() {
        let message = format!("`factor` is a number from 1 to 100, found {}", node.what());
        report.error(&node.span, message, "with at most two digits after the point: `factor: 1.5`");
    }
    factor
}

/// `1.5` is 150. `None`: more than two digits after the point, or too large.
fn hundredths(number: &str) -> Option<u32> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = part.trim_end_matches('0');
    if part.len() > 2 {
        return None;
    }
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(format!("{part:0<2}").parse().ok()?)
}

fn unique(report: &mut Report<'_>, context: &mut Context<'_>, node: &Node) -> Option<TaskUnique> {
    let members = yaml::members(report, node, "`unique`", &["key", "within"])?;
    let mut missing = |key: &str, at: &Range<usize>| {
        let hint = "write both: `unique: { key: id, within: 1h }`";
        report.error(at, format!("`unique` has no `{key}`"), hint);
    };
    for key in ["key", "within"] {
        if members.get(key).is_none() {
            missing(key, &node.span);
        }
    }
    let key = members.value("key").and_then(|node| {
        let key = context.compile(report, node, Expected::Any)?;
        if matches!(key.root().slot.ty, Ty::List(_) | Ty::Object(_) | Ty::Json | Ty::Null) {
            let message = format!("a key is one value, this is {}", key.root().slot.ty);
            report.error(&node.span, message, "name a field with a single value, or `id`");
            return None;
        }
        Some(key)
    });
    let within = members.value("within").and_then(|node| duration(report, node, "within", WITHIN));
    Some(TaskUnique { key: key?, within: within? })
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn a_factor_is_exact() {
        assert_eq!(hundredths("2"), Some(200));
        assert_eq!(hundredths("1.5"), Some(150));
        assert_eq!(hundredths("1.050"), Some(105));
        assert_eq!(hundredths("1.005"), None);
        assert_eq!(hundredths("-1"), None);
        assert_eq!(hundredths("99999999999"), None);
    }
}

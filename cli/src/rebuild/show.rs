//! Shows builds under way: bars on a terminal, a line now and then elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use writ_projections::rebuild::Build;

use super::pace::Pace;

/// Outside of a terminal, between two lines about the same build.
const NOTED: Duration = Duration::from_secs(5);

/// One line per build.
pub(super) struct Bars {
    all: Option<MultiProgress>,
    bars: BTreeMap<String, Bar>,
}

struct Bar {
    bar: Option<ProgressBar>,
    pace: Pace,
    noted: Instant,
}

impl Bars {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a String>) -> Bars {
        let all = std::io::stderr().is_terminal().then(MultiProgress::new);
        let bars = names.map(|name| (name.clone(), Bar::new(all.as_ref(), name))).collect();
        Bars { all, bars }
    }

    /// How far a build is.
    pub(super) fn show(&mut self, name: &str, build: &Build) {
        if let Some(bar) = self.bars.get_mut(name) {
            bar.show(name, build);
        }
    }

    /// A build has ended well.
    pub(super) fn done(&mut self, name: &str, generation: i32) {
        self.end(name, &format!("{name}: generation {generation} is live"));
    }

    /// A build has stopped.
    pub(super) fn failed(&mut self, name: &str, error: &str, at: Option<&str>) {
        let at = at.map_or(String::new(), |at| format!(" at the event {at}"));
        self.end(name, &format!("{name}: not built{at}: {error}"));
    }

    /// Nobody works on them.
    pub(super) fn waiting<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        const SAID: &str = "waits for a server with the role projector";
        for name in names {
            match self.bars.get_mut(name) {
                Some(Bar { bar: Some(bar), .. }) => bar.set_message(SAID),
                Some(bar) if bar.noted.elapsed() >= NOTED => {
                    bar.noted = Instant::now();
                    eprintln!("{name}: {SAID}");
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, name: &str, line: &str) {
        if let Some(Bar { bar: Some(bar), .. }) = self.bars.remove(name) {
            bar.finish_and_clear();
        }
        match &self.all {
            Some(all) => all.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }
}

impl Bar {
    fn new(all: Option<&MultiProgress>, name: &str) -> Bar {
        let bar = all.map(|all| {
            let style = ProgressStyle::with_template("{prefix:<22} {bar:30} {percent:>3}%  {wide_msg}");
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(style.expect("invariant: the template is valid"));
            bar.set_prefix(name.to_owned());
            bar
        });
        Bar { bar, pace: Pace::default(), noted: Instant::now() }
    }

    fn show(&mut self, name: &str, build: &Build) {
        let now = Instant::now();
        self.pace.note(now, build.done);
        let message = message(build, &self.pace);
        match &self.bar {
            Some(bar) => {
                bar.set_length(u64::try_from(build.total).unwrap_or_default());
                bar.set_position(u64::try_from(build.done).unwrap_or_default());
                bar.set_message(message);
            }
            None if now - self.noted >= NOTED => {
                self.noted = now;
                eprintln!("{name}: {message}");
            }
            None => {}
        }
    }
}

/// `412000 of 1000000 events, 35120/s, 17 s left`.
fn message(build: &Build, pace: &Pace) -> String {
    let Build { done, total, .. } = build;
    if *total == 0 {
        return "waits for its turn".to_owned();
    }
    let mut message = format!("{done} of {total} events");
    if *done > 0 && pace.rate() == Some(0.0) {
        message.push_str("; it makes its indexes, or waits for a moment to take its place");
        return message;
    }
    if let Some(rate) = pace.rate() {
        message.push_str(&format!(", {rate:.0}/s"));
    }
    if let Some(left) = pace.left(total - done) {
        message.push_str(&format!(", {} left", text(left)));
    }
    message
}

fn text(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=89 => format!("{seconds} s"),
        seconds @ 90..=5_399 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{:.1} h", Duration::from_secs(seconds).as_secs_f64() / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_how_far_how_fast_and_how_long() {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        let build = |done| Build { generation: 2, done, total: 10_000, applied: done, ..Build::default() };
        pace.note(begin, 0);
        assert_eq!(message(&Build::default(), &pace), "waits for its turn");
        assert_eq!(message(&build(0), &pace), "0 of 10000 events");
        pace.note(begin + Duration::from_secs(1), 400);
        assert_eq!(message(&build(400), &pace), "400 of 10000 events, 400/s, 24 s left");
        let later = |seconds| begin + Duration::from_secs(seconds);
        pace.note(later(20), 9_990);
        pace.note(later(35), 9_990);
        pace.note(later(46), 9_990);
        let said = "9990 of 10000 events; it makes its indexes, or waits for a moment to take its place";
        assert_eq!(message(&build(9_990), &pace), said);
        assert_eq!(text(Duration::from_secs(600)), "10 min");
        assert_eq!(text(Duration::from_secs(9_000)), "2.5 h");
    }
}

//! Progress of long steps: moving lines on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Prints a line of the result. A reader that has gone away (`| head`) is no reason to leave servers unattended.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Where steps are shown: on standard error, so that standard output is only results.
#[derive(Clone)]
pub(crate) struct Progress(Option<MultiProgress>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(MultiProgress::new))
    }

    /// Begins a step. Several may run at once.
    pub(crate) fn step(&self, title: &str) -> Step {
        let bar = self.0.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {prefix:<22} {elapsed:>4}  {wide_msg}");
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style.expect("the template is valid"));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Step { bar, title: title.to_owned(), begun: Instant::now(), noted: Instant::now() }
    }
}

/// A step that takes a while. Dropped without [`Step::done`] it disappears from the terminal.
pub(crate) struct Step {
    bar: Option<ProgressBar>,
    title: String,
    begun: Instant,
    noted: Instant,
}

impl Step {
    /// Shows what the step does now. Outside a terminal at most every 10 seconds, to keep logs short.
    pub(crate) fn note(&mut self, now: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(now.to_owned());
        } else if self.noted.elapsed() > Duration::from_secs(10) {
            self.noted = Instant::now();
            eprintln!("… {}: {now}", self.title);
        }
    }

    /// Ends the step with its result.
    pub(crate) fn done(mut self, result: &str) {
        let line = format!("✓ {:<22} {result} ({:.1} s)", self.title, self.begun.elapsed().as_secs_f64());
        match self.bar.take() {
            Some(bar) => {
                bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is valid"));
                bar.finish_with_message(line);
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

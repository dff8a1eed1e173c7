//! Goes round: a connection, what follows from its end, the next one.

use tokio_util::sync::CancellationToken;

use super::again::{About, End, Tries};
use super::connection::Connector;
use super::error::Error;
use super::message::{NOW, SNAPSHOT, Wanted};
use super::notice;
use super::output::{Format, Output};
use super::target::Target;
use super::text::clean;
use super::token::Credentials;

/// Why following is over, with nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// A signal came.
    Stopped,
    /// Everything up to now was shown, which was all that was asked for.
    CaughtUp,
    /// Nobody reads what is shown any more, such as `head` when it has its lines.
    Unread,
}

/// Where the next subscription begins.
#[derive(Debug)]
pub(super) struct Place {
    /// `from` of the next subscription.
    pub(super) from: String,
    /// All rows were asked for, and not only what happens.
    with_rows: bool,
    /// The subscription that is on its way shows all rows again.
    pub(super) restarts: Option<&'static str>,
}

impl Place {
    fn new(from: String) -> Place {
        Place { with_rows: from == SNAPSHOT, from, restarts: None }
    }

    /// Everything before `resume` was shown.
    pub(super) fn reached(&mut self, resume: &str) {
        resume.clone_into(&mut self.from);
    }

    /// Where we are is of no use: only all rows are.
    pub(super) fn lost(&mut self) {
        SNAPSHOT.clone_into(&mut self.from);
    }

    /// The connection ended. `permissions`: because something else may be read now.
    fn broke(&mut self, permissions: bool) {
        if permissions && self.with_rows {
            // A copy of the rows is only right again with those that may be read now.
            self.lost();
            self.restarts = Some("permissions");
        } else if self.from == SNAPSHOT {
            self.restarts = Some("interrupted");
        }
    }

    /// The resume, if there is one.
    fn resume(&self) -> Option<&str> {
        Some(self.from.as_str()).filter(|from| ![NOW, SNAPSHOT].contains(from))
    }
}

/// One run of the command.
pub(super) struct Follow {
    pub(super) connector: Connector,
    pub(super) credentials: Credentials,
    pub(super) wanted: Wanted,
    pub(super) place: Place,
    pub(super) until_caught_up: bool,
    pub(super) tries: Tries,
    pub(super) output: Output,
}

impl Follow {
    pub(super) fn new(
        target: Target,
        credentials: Credentials,
        wanted: Wanted,
        from: String,
        until_caught_up: bool,
        format: Format,
    ) -> Result<Follow, Error> {
        let output = Output::new(format, &wanted).map_err(|source| Error::Output { source })?;
        let (place, tries) = (Place::new(from), Tries::default());
        let connector = Connector::new(target)?;
        Ok(Follow { connector, credentials, wanted, place, until_caught_up, tries, output })
    }

    /// Until `stop`, or an error that trying again doesn't mend.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let done = loop {
            let token = self.credentials.read()?;
            if token.is_some()
                && !self.connector.target.is_tls
                && !self.connector.target.is_loopback()
                && self.tries.is_first()
            {
                notice("The token goes to the server unencrypted: --url isn't https.");
            }
            let end = match self.connection(token.as_ref(), stop).await {
                Ok(done) => break done,
                Err(end) => end,
            };
            self.place.broke(matches!(end, End::Permissions));
            let renewed = self.credentials.read().is_ok_and(|now| now != token);
            let Follow { connector, credentials, wanted, tries, .. } = self;
            let about = About { target: &connector.target, wanted, credentials, renewed };
            let again = tries.next(end, about, share())?;
            if again.after.is_zero() {
                notice(&format!("{} Going on.", again.why));
            } else {
                notice(&format!("{} Trying again in {:.1} s.", again.why, again.after.as_secs_f64()));
            }
            if stop.run_until_cancelled(tokio::time::sleep(again.after)).await.is_none() {
                break Done::Stopped;
            }
        };
        if let (Format::Text, Done::Stopped | Done::CaughtUp, Some(resume)) =
            (self.output.format(), done, self.place.resume())
        {
            notice(&format!("To go on from here: --from {}", clean(resume)));
        }
        Ok(())
    }
}

/// From 0 to 1.
fn share() -> f64 {
    // Of a random UUID these bits are random.
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_connection_begins_behind_what_was_shown() {
        let mut place = Place::new(NOW.to_owned());
        assert_eq!(place.resume(), None);
        place.reached("order:AQ");
        for permissions in [false, true] {
            place.broke(permissions);
            assert_eq!((place.from.as_str(), place.restarts), ("order:AQ", None));
        }
        assert_eq!(place.resume(), Some("order:AQ"));
    }

    #[test]
    fn rows_that_were_not_complete_come_again() {
        let mut place = Place::new(SNAPSHOT.to_owned());
        place.broke(false);
        assert_eq!((place.from.as_str(), place.restarts), (SNAPSHOT, Some("interrupted")));
        // Whoever only wanted what happens, and was away for too long.
        let mut place = Place::new("order:AQ".to_owned());
        place.lost();
        assert_eq!(place.resume(), None);
        place.broke(false);
        assert_eq!((place.from.as_str(), place.restarts), (SNAPSHOT, Some("interrupted")));
    }

    #[test]
    fn a_copy_of_all_rows_begins_anew_when_other_rows_may_be_read() {
        let mut place = Place::new(SNAPSHOT.to_owned());
        place.reached("order:AQ");
        place.broke(false);
        assert_eq!((place.from.as_str(), place.restarts), ("order:AQ", None));
        place.broke(true);
        assert_eq!((place.from.as_str(), place.restarts), (SNAPSHOT, Some("permissions")));
    }
}

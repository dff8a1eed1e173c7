//! What the mails say, as text and as HTML. Nothing in them comes from whoever asked for them, neither a name nor an address:
//! else anybody could have this server send their words to anybody.

use std::time::Duration;

use url::Url;
use writ_identity::proof::{Proof, Purpose};
use zeroize::Zeroizing;

const TOKEN: &str = "{token}";

/// A link with a place for the token, and how long it is good.
#[derive(Debug, Clone)]
pub(super) struct Template {
    text: String,
    seconds: u32,
}

impl Template {
    /// `text` as configured; a path is one of `url`. `None`: it is no link, or would show the token to a server.
    pub(super) fn new(text: &str, url: &str, seconds: u32) -> Option<Template> {
        let text = match text.starts_with('/') {
            true => format!("{}{text}", url.trim_end_matches('/')),
            false => text.to_owned(),
        };
        let (before, _) = text.split_once(TOKEN)?;
        let is_link = Url::parse(&text).is_ok_and(|url| ["https", "http"].contains(&url.scheme()));
        let usable = is_link && before.contains('#') && text.matches(TOKEN).count() == 1;
        usable.then_some(Template { text, seconds })
    }

    /// How long the link is good.
    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn link(&self, proof: &Proof) -> Zeroizing<String> {
        Zeroizing::new(self.text.replace(TOKEN, &proof.to_text()))
    }
}

/// A mail without its addresses.
pub(super) struct Letter {
    pub(super) subject: &'static str,
    pub(super) text: String,
    pub(super) html: String,
}

impl Letter {
    pub(super) fn new(purpose: Purpose, site: &str, template: &Template, proof: &Proof) -> Letter {
        let (subject, why, what, otherwise) = match purpose {
            Purpose::Password => (
                "Choose a new password",
                format!("Somebody, probably you, asked for a new password for your account at {site}."),
                "To choose one, open this link",
                "If it wasn't you, do nothing: your password stays as it is.",
            ),
            Purpose::Email => (
                "Confirm your e-mail address",
                format!("There is an account with this e-mail address at {site}."),
                "If it is yours, confirm the address with this link",
                "If it isn't yours, do nothing: the address stays unconfirmed.",
            ),
        };
        let link = template.link(proof);
        let within = in_words(template.seconds);
        let good = "It works once, and when several were sent, only the newest one works.";
        let text = format!("{why}\n\n{what} within {within}:\n\n{}\n\n{good}\n{otherwise}\n", *link);
        let (why, link) = (escaped(&why), Zeroizing::new(escaped(&link)));
        let link = format!("<a href=\"{0}\">{0}</a>", *link);
        let html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{subject}</title></head>\n<body>\n\
             <p>{why}</p>\n<p>{what} within {within}:</p>\n<p>{link}</p>\n<p>{good}<br>{otherwise}</p>\n</body>\n</html>\n"
        );
        Letter { subject, text, html }
    }
}

/// `1 hour`, `90 minutes`: in the largest unit that has a whole number of them.
fn in_words(seconds: u32) -> String {
    let (number, unit) = match seconds {
        _ if seconds.is_multiple_of(3600) => (seconds / 3600, "hour"),
        _ if seconds.is_multiple_of(60) => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// For HTML, in text and in attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_link_shows_its_token_to_no_server() {
        let url = "https://app.example/";
        let link = |text: &str| Template::new(text, url, 60).map(|template| template.text);
        assert_eq!(link("/reset#token={token}").as_deref(), Some("https://app.example/reset#token={token}"));
        assert!(link("https://other.example/#/reset/{token}").is_some());
        for unusable in [
            "",
            "/reset",
            "/reset?token={token}",
            "/reset/{token}#x",
            "/reset#{token}{token}",
            "javascript:x#{token}",
            "reset#{token}",
        ] {
            assert_eq!(link(unusable), None, "{unusable}");
        }
    }

    #[test]
    fn a_letter_says_how_long_its_link_is_good_and_is_escaped() {
        let proof = Proof::generate(Uuid::now_v7());
        let template = Template::new("/r?a=1&b=\"<i>#{token}", "https://app.example", 5_400).unwrap();
        let letter = Letter::new(Purpose::Password, "app.example", &template, &proof);
        let token = proof.to_text();
        assert!(letter.text.contains(&format!("https://app.example/r?a=1&b=\"<i>#{}\n", *token)));
        assert!(letter.text.contains("within 90 minutes:"), "{}", letter.text);
        assert!(
            letter
                .html
                .contains(&format!("href=\"https://app.example/r?a=1&amp;b=&quot;&lt;i&gt;#{}\"", *token))
        );
        assert!(!letter.html.contains("<i>"));
        assert_eq!(
            [1, 60, 3_600, 86_400].map(in_words),
            ["1 second", "1 minute", "1 hour", "24 hours"].map(str::to_owned)
        );
    }
}

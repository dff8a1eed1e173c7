//! What is said in a channel, written once for all who hear it.

use parking_lot::Mutex;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

/// A message without its `sub`.
#[derive(Debug)]
pub(super) struct Text {
    /// The members of the JSON object, without braces.
    body: Box<str>,
    /// The last name under which it was asked for, and the message.
    message: Mutex<Option<(Box<str>, Utf8Bytes)>>,
}

impl Text {
    pub(super) fn new(body: &str) -> Text {
        Text { body: body.into(), message: Mutex::default() }
    }

    /// `{"sub":"d",<body>}`. Made once for all that have given it the same name, as long as none comes between with another.
    pub(super) fn message(&self, sub: &str) -> Utf8Bytes {
        let mut last = self.message.lock();
        if let Some((name, message)) = &*last
            && **name == *sub
        {
            return message.clone();
        }
        let message = Utf8Bytes::from(format!(r#"{{"sub":{},{}}}"#, json(sub), self.body));
        *last = Some((sub.into(), message.clone()));
        message
    }
}

/// What is broadcast, as it is published: whom it is not for, then the members of the message.
#[derive(Debug)]
pub(super) struct Broadcast<'a> {
    pub(super) event: &'a str,
    pub(super) payload: &'a serde_json::Value,
    /// `None`: sent without being there.
    pub(super) member: Option<Uuid>,
    pub(super) account: Option<Uuid>,
    pub(super) at: String,
    /// The member hears it too.
    pub(super) echo: bool,
}

impl Broadcast<'_> {
    pub(super) fn published(&self) -> String {
        let not_for = self.member.filter(|_| !self.echo).unwrap_or_default();
        let Broadcast { event, payload, member, account, at, .. } = self;
        let (event, payload, at) = (json(event), json(payload), json(at));
        let (member, account) = (json(member), json(account));
        format!(
            r#"b{not_for}"type":"broadcast","event":{event},"payload":{payload},"member":{member},"account":{account},"at":{at}"#
        )
    }
}

/// Whom a published broadcast is not for, and its members.
pub(super) fn broadcast(published: &str) -> Option<(Uuid, &str)> {
    let (not_for, body) = published.strip_prefix('b')?.split_at_checked(36)?;
    Some((not_for.parse().ok()?, body))
}

pub(super) fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("invariant: values, texts and maps with text keys are JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_broadcast_is_read_as_it_was_published() {
        let member = Uuid::new_v4();
        let payload = serde_json::json!({ "a": "b\"" });
        let said = |echo| Broadcast {
            event: "typing",
            payload: &payload,
            member: Some(member),
            account: None,
            at: "2026".to_owned(),
            echo,
        };
        let published = said(false).published();
        let (not_for, body) = broadcast(&published).unwrap();
        assert_eq!(not_for, member);
        let message: Value = serde_json::from_str(&Text::new(body).message("d\"")).unwrap();
        assert_eq!((&message["sub"], &message["payload"]), (&"d\"".into(), &payload));
        assert_eq!(broadcast(&said(true).published()).unwrap().0, Uuid::nil());
        assert!(broadcast("b123").is_none() && broadcast("p").is_none());
    }

    #[test]
    fn one_text_is_made_for_all_of_the_same_name() {
        let text = Text::new(r#""type":"x""#);
        let (first, again) = (text.message("a"), text.message("a"));
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_eq!(text.message("b").as_str(), r#"{"sub":"b","type":"x"}"#);
    }
}

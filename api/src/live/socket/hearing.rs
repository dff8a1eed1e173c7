//! What a socket does with the messages of its client.

use tokio_tungstenite::tungstenite::Message;

use super::Socket;
use super::closing::{Code, End};
use crate::caller;
use crate::live::command;
use crate::live::message::{self, Authenticate, Ending, FromClient, Subscribe, ToClient};
use crate::live::tickets;
use crate::live::wanted::{self, Ask};
use crate::problem::{Kind, Problem};
use crate::rate_limit::{Bucket, whole_seconds};

/// Messages in a row that are one too many, after which a client that doesn't listen is closed.
const MAX_REFUSALS: u32 = 50;

impl Socket {
    pub(super) async fn hear(&mut self, message: Message) -> Result<(), End> {
        self.app.live.received.increment(1);
        let awaited = std::mem::take(&mut self.unanswered) > 0;
        match message {
            Message::Text(text) => {
                let refused = self.charge().await?;
                let (about, message) = message::parse(&text);
                drop(text);
                let done = match (refused, message) {
                    (Some(problem), _) | (None, Err(problem)) => Err(problem),
                    (None, Ok(message)) => self.act(message).await?,
                };
                let Err(problem) = done else { return Ok(()) };
                let (sub, reference) = (about.sub.as_deref(), about.reference.as_deref());
                self.tell(&ToClient::Error { sub, reference, problem: &problem }).await
            }
            Message::Binary(_) => Err(End::Close(Code::UNSUPPORTED, "messages are JSON texts")),
            // The WebSocket layer has answered it.
            Message::Ping(_) => self.charge().await.map(drop),
            Message::Pong(_) if awaited => Ok(()),
            Message::Pong(_) | Message::Frame(_) => self.charge().await.map(drop),
            Message::Close(_) => Err(End::Closed),
        }
    }

    /// Charges a message as a request is charged. `Some`: it is one too many.
    async fn charge(&mut self) -> Result<Option<Problem>, End> {
        let mut buckets = self.caller.buckets();
        buckets.push(Bucket::address(self.address));
        let Some(wait) = self.app.api.limiter.take(&buckets).await.refused() else {
            self.refusals = 0;
            return Ok(None);
        };
        self.refusals += 1;
        match self.refusals > MAX_REFUSALS {
            true => Err(End::Close(Code::TOO_MANY, "too many messages")),
            false => Ok(Some(Kind::RateLimited.after(whole_seconds(wait)))),
        }
    }

    /// The inner error is told, and the socket goes on.
    async fn act(&mut self, message: FromClient) -> Result<Result<(), Problem>, End> {
        match message {
            FromClient::Subscribe(wanted) => Ok(self.subscribe(wanted)),
            FromClient::Unsubscribe(wanted) => {
                if self.channels.leave(&wanted.sub) {
                    return Ok(Ok(()));
                }
                if !self.subscriptions.remove(&wanted.sub) {
                    return Ok(Err(Kind::NotFound.because("There is no subscription of this name.")));
                }
                let ended = ToClient::Ended { sub: &wanted.sub, reason: Ending::Unsubscribed, resume: None };
                self.tell(&ended).await.map(Ok)
            }
            FromClient::Join(join) => Ok(self.check_name(&join.sub).and_then(|()| self.channels.join(join))),
            FromClient::Broadcast(said) => Ok(self.channels.broadcast(said)),
            FromClient::Presence(said) => Ok(self.channels.presence(said)),
            FromClient::Ping(_) => self.tell(&ToClient::Pong {}).await.map(Ok),
            FromClient::Authenticate(proof) => self.authenticate(proof).await,
            FromClient::Command(command) => {
                let most = self.app.options.live.max_commands;
                if self.commands.len() >= most {
                    let detail = format!("{most} commands of this socket have no answer yet; wait for one.");
                    return Ok(Err(Kind::Overloaded.because(detail)));
                }
                let running =
                    command::run(self.app.clone(), self.caller.clone(), self.trace.clone(), command);
                Ok(running.map(|running| self.commands.push(running)))
            }
        }
    }

    fn subscribe(&mut self, wanted: Subscribe) -> Result<(), Problem> {
        let (name, of) = wanted.followed()?;
        let Subscribe { sub, id, filter, fields, from, .. } = wanted;
        self.check_name(&sub)?;
        let filters = filter.into_iter().map(|(name, given)| (name, given.into()));
        let parameters = filters.chain(fields.map(|fields| ("fields".to_owned(), fields))).collect();
        let ask = Ask { name: name.clone(), of, id, parameters, from };
        let (wanted, from) = wanted::read(&self.app, &self.caller, ask)?;
        self.subscriptions.add(&sub, &name, self.app.api.live.subscribe(wanted, from));
        Ok(())
    }

    /// Whether there may be one more subscription or channel, of this name.
    fn check_name(&self, sub: &str) -> Result<(), Problem> {
        let most = self.app.options.live.max_subscriptions;
        if self.subscriptions.has(sub) || self.channels.has(sub) {
            let detail = "A subscription of this name is open.";
            return Err(Problem::at(Kind::InvalidInput, "/sub", "repeated", detail));
        }
        if self.subscriptions.len() + self.channels.len() >= most {
            let detail = format!("{most} subscriptions are open on this socket, as many as it may have.");
            return Err(Kind::TooManySubscriptions.because(detail));
        }
        Ok(())
    }

    async fn authenticate(&mut self, proof: Authenticate) -> Result<Result<(), Problem>, End> {
        let next = match (proof.token, proof.ticket) {
            (Some(token), None) => caller::of_bearer(&self.app, &self.trace, token.trim()).await,
            (None, Some(ticket)) => tickets::redeem(&self.app, &ticket).await,
            _ => Err(Kind::InvalidInput.because("One of `token` and `ticket` is needed.")),
        };
        let next = match next {
            Ok(next) if next.actor.id.is_some() && next.actor.id == self.caller.actor.id => next,
            Ok(_) => return Ok(Err(Kind::Forbidden.because("A socket stays that of its first account."))),
            Err(problem) => return Ok(Err(problem)),
        };
        self.place.belongs_to(&next);
        self.becomes(next).await?;
        let expires_at = self.expires_at();
        let reference = proof.reference.as_deref();
        self.tell(&ToClient::Authenticated { reference, expires_at }).await.map(Ok)
    }
}

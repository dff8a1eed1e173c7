//! What the registry has of an application: every version of every event type.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use writ_model::Models;
use writ_model::compatibility::{Registered, Version};

use super::{Error, Registry};
use crate::topics::Topics;

/// One version in the Confluent API.
#[derive(Debug, Deserialize)]
struct Answer {
    version: u32,
    schema: String,
}

impl Registry {
    /// Every version of every event type that is declared, and of those that are registered for the topics of the
    /// application `models.app` without being declared.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it isn't there, or speaks another language.
    pub async fn registered(&self, models: &Models, topics: &Topics) -> Result<Vec<Registered>, Error> {
        // The declared ones by name: a list may be cut.
        let declared = models.models.values().flat_map(|model| {
            let topic = topics.events(&model.name);
            model.events.values().map(move |event| format!("{topic}-{}", event.type_name))
        });
        let mut subjects: BTreeSet<String> = declared.collect();
        // Not every registry heeds the prefix.
        let listed = format!("subjects?subjectPrefix={}", topics.events(""));
        let listed: Option<Vec<String>> = self.read(&listed).await?;
        subjects.extend(listed.unwrap_or_default());

        let mut registered = Vec::new();
        for subject in subjects {
            let Some(type_name) = type_of(&subject, &models.app, topics) else { continue };
            let numbers: Option<Vec<u32>> = self.read(&format!("subjects/{subject}/versions")).await?;
            let mut versions = Vec::new();
            for number in numbers.unwrap_or_default() {
                // `None`: deleted since it was listed.
                let path = format!("subjects/{subject}/versions/{number}");
                if let Some(Answer { version, schema }) = self.read(&path).await? {
                    versions.push(Version { number: version, schema });
                }
            }
            versions.sort_by_key(|version| version.number);
            registered.push(Registered { type_name: type_name.to_owned(), subject, versions });
        }
        Ok(registered)
    }

    /// `None`: there is no such thing. Subjects need no escapes: names of topics and models have none to escape.
    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let url = format!("{}/{path}", self.inner.url);
        let failed = |error: reqwest::Error| self.unavailable(error.to_string());
        let answer = self.inner.http.get(&url).send().await.map_err(failed)?;
        match answer.status() {
            StatusCode::NOT_FOUND if path.contains('/') => return Ok(None),
            status if !status.is_success() => {
                return Err(self.unavailable(format!("GET {url}: HTTP {status}")));
            }
            _ => {}
        }
        let body = answer.bytes().await.map_err(failed)?;
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| self.unavailable(format!("GET {url}: an answer that makes no sense: {error}")))
    }
}

/// The event type of a subject `<topic>-<app>.<model>.<Event>`, if it is one of the application and stands in its topic.
fn type_of<'s>(subject: &'s str, app: &str, topics: &Topics) -> Option<&'s str> {
    let (topic, type_name) = subject.rsplit_once('-')?;
    let (of, event) = type_name.split_once('.')?;
    let (model, _) = event.split_once('.')?;
    (of == app && topics.events(model) == topic).then_some(type_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_the_application_in_its_topics_count() {
        let topics = Topics::new("writ-a");
        let of = |subject| type_of(subject, "shop", &topics);
        assert_eq!(of("writ-a.order-shop.order.Placed"), Some("shop.order.Placed"));
        for other in [
            "writ-b.order-shop.order.Placed",
            "writ-a.order-bank.order.Placed",
            "writ-a.order-shop.customer.Placed",
            "writ-a.order-value",
            "shop.order.Placed",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}

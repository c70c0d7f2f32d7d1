//! Process-wide loaders: concurrent requests for rows by key become one statement. They cache nothing and decide
//! nothing: what they give is [`Unchecked`] until the caller's permit opens it.

use std::{
    collections::HashMap,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use entity::{delivery, member};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    ai, chat,
    error::{Error, Result},
    gate::{Gate, Permit, System, Unchecked},
    profiles, triggers, webhooks,
};

/// The loaders of a node.
pub struct Loaders {
    members: Batches<Uuid, Unchecked<Arc<member::Model>>>,
    members_by_username: Batches<String, Unchecked<Arc<member::Model>>>,
    triggers: Batches<Uuid, Unchecked<triggers::View>>,
    active_triggers: Batches<Uuid, Vec<Unchecked<triggers::View>>>,
    messages: Batches<Uuid, Unchecked<Arc<chat::View>>>,
    said: Batches<Uuid, Unchecked<Arc<Vec<ai::Said>>>>,
    webhook_health: Batches<Uuid, Unchecked<webhooks::Health>>,
    deliveries: Batches<webhooks::Part, Unchecked<Vec<delivery::Model>>>,
}

impl Loaders {
    pub fn new(gate: &Gate) -> Self {
        let permit = gate.system(System::Load);
        Self {
            members: Batches::new(load_members, &permit),
            members_by_username: Batches::new(load_by_username, &permit),
            triggers: Batches::new(load_triggers, &permit),
            active_triggers: Batches::new(load_active, &permit),
            messages: Batches::new(load_messages, &permit),
            said: Batches::new(load_said, &permit),
            webhook_health: Batches::new(load_webhook_health, &permit),
            deliveries: Batches::new(load_deliveries, &permit),
        }
    }

    pub async fn member(&self, id: Uuid) -> Result<Option<Unchecked<Arc<member::Model>>>> {
        self.members.load(id).await
    }

    /// By the username in lower case.
    pub async fn member_by_username(&self, folded: String) -> Result<Option<Unchecked<Arc<member::Model>>>> {
        self.members_by_username.load(folded).await
    }

    pub async fn trigger(&self, id: Uuid) -> Result<Option<Unchecked<triggers::View>>> {
        self.triggers.load(id).await
    }

    /// What was said in a session, first said first.
    pub async fn said(&self, session: Uuid) -> Result<Option<Unchecked<Arc<Vec<ai::Said>>>>> {
        self.said.load(session).await
    }

    /// How a webhook is doing; none where it has no deliveries.
    pub async fn webhook_health(&self, webhook: Uuid) -> Result<Option<Unchecked<webhooks::Health>>> {
        self.webhook_health.load(webhook).await
    }

    /// A part of a webhook's deliveries, newest first; none where it is empty.
    pub async fn deliveries(&self, part: webhooks::Part) -> Result<Option<Unchecked<Vec<delivery::Model>>>> {
        self.deliveries.load(part).await
    }

    pub async fn message(&self, id: Uuid) -> Result<Option<Unchecked<Arc<chat::View>>>> {
        self.messages.load(id).await
    }

    /// What a member has activated, first activated first.
    pub async fn active_triggers(&self, member: Uuid) -> Result<Vec<Unchecked<triggers::View>>> {
        Ok(self.active_triggers.load(member).await?.unwrap_or_default())
    }
}

/// One statement at a time; what is asked for while it runs is the next.
struct Batches<K, V>(Arc<Inner<K, V>>);

type Load<K, V> = dyn Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>>> + Send + Sync;

struct Inner<K, V> {
    load: Box<Load<K, V>>,
    waiting: Mutex<Waiting<K, V>>,
}

struct Waiting<K, V> {
    asked: HashMap<K, Vec<oneshot::Sender<Result<Option<V>>>>>,
    is_loading: bool,
}

impl<K, V> Batches<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    fn new<C, F>(load: fn(C, Vec<K>) -> F, with: &C) -> Self
    where
        C: Clone + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<K, V>>> + Send + 'static,
    {
        let with = with.clone();
        Self(Arc::new(Inner {
            load: Box::new(move |keys| load(with.clone(), keys).boxed()),
            waiting: Mutex::new(Waiting {
                asked: HashMap::new(),
                is_loading: false,
            }),
        }))
    }

    async fn load(&self, key: K) -> Result<Option<V>> {
        let (reply, answer) = oneshot::channel();
        let is_loading = {
            let mut waiting = self.0.waiting();
            waiting.asked.entry(key).or_default().push(reply);
            std::mem::replace(&mut waiting.is_loading, true)
        };
        if !is_loading {
            // A task of its own: whoever asked first may go away.
            tokio::spawn(load_batches(self.0.clone()));
        }
        answer.await.map_err(Error::internal)?
    }
}

impl<K, V> Inner<K, V> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<K, V>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn load_batches<K: Clone + Eq + Hash, V: Clone>(batches: Arc<Inner<K, V>>) {
    loop {
        // Whatever can run now may ask for more before the batch is closed.
        tokio::task::yield_now().await;
        let asked = {
            let mut waiting = batches.waiting();
            waiting.is_loading = !waiting.asked.is_empty();
            std::mem::take(&mut waiting.asked)
        };
        if asked.is_empty() {
            return;
        }
        let keys = asked.keys().cloned().collect();
        let loading = AssertUnwindSafe(async { (batches.load)(keys).await });
        let loaded = loading.catch_unwind().await;
        let mut loaded = loaded.unwrap_or_else(|_| Err(Error::internal("a loader panicked")));
        for (key, mut replies) in asked {
            let last = replies.pop();
            // Who went away does not need the row.
            for reply in replies {
                let _ = reply.send(
                    loaded
                        .as_ref()
                        .map(|rows| rows.get(&key).cloned())
                        .map_err(Error::clone),
                );
            }
            if let Some(reply) = last {
                let _ = reply.send(
                    loaded
                        .as_mut()
                        .map(|rows| rows.remove(&key))
                        .map_err(|error| error.clone()),
                );
            }
        }
    }
}

async fn load_members(permit: Permit, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Unchecked<Arc<member::Model>>>> {
    let rows = profiles::load_members(&permit, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, Unchecked::new(Arc::new(row))))
        .collect())
}

async fn load_by_username(
    permit: Permit,
    names: Vec<String>,
) -> Result<HashMap<String, Unchecked<Arc<member::Model>>>> {
    let rows = profiles::load_members_by_username(&permit, &names).await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.username_key.clone(), Unchecked::new(Arc::new(row))))
        .collect())
}

async fn load_triggers(permit: Permit, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Unchecked<triggers::View>>> {
    let rows = triggers::load(&permit, &ids).await?;
    Ok(rows.into_iter().map(|row| (row.id, Unchecked::new(row))).collect())
}

async fn load_messages(permit: Permit, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Unchecked<Arc<chat::View>>>> {
    let rows = chat::load(&permit, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, Unchecked::new(Arc::new(row))))
        .collect())
}

async fn load_said(permit: Permit, sessions: Vec<Uuid>) -> Result<HashMap<Uuid, Unchecked<Arc<Vec<ai::Said>>>>> {
    let mut said: HashMap<Uuid, Vec<ai::Said>> = HashMap::new();
    for (session, turn) in ai::load_said(&permit, &sessions).await? {
        said.entry(session).or_default().push(turn);
    }
    Ok(said
        .into_iter()
        .map(|(session, turns)| (session, Unchecked::new(Arc::new(turns))))
        .collect())
}

async fn load_webhook_health(permit: Permit, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Unchecked<webhooks::Health>>> {
    let health = webhooks::load_health(&permit, &ids).await?;
    Ok(health
        .into_iter()
        .map(|(id, health)| (id, Unchecked::new(health)))
        .collect())
}

async fn load_deliveries(
    permit: Permit,
    parts: Vec<webhooks::Part>,
) -> Result<HashMap<webhooks::Part, Unchecked<Vec<delivery::Model>>>> {
    let rows = webhooks::load_deliveries(&permit, &parts).await?;
    Ok(rows
        .into_iter()
        .map(|(part, rows)| (part, Unchecked::new(rows)))
        .collect())
}

async fn load_active(permit: Permit, members: Vec<Uuid>) -> Result<HashMap<Uuid, Vec<Unchecked<triggers::View>>>> {
    let mut active: HashMap<Uuid, Vec<Unchecked<triggers::View>>> = HashMap::new();
    for (member, row) in triggers::load_active(&permit, &members).await? {
        active.entry(member).or_default().push(Unchecked::new(row));
    }
    Ok(active)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    type Batch = Arc<Mutex<Vec<Vec<u8>>>>;

    /// Even numbers as text; 99 panics, and 98 fails.
    async fn even(batches: Batch, mut keys: Vec<u8>) -> Result<HashMap<u8, String>> {
        keys.sort_unstable();
        assert!(!keys.contains(&99));
        if keys.contains(&98) {
            return Err(Error::not_found("number"));
        }
        let rows = keys.iter().filter(|key| *key % 2 == 0);
        let rows = rows.map(|key| (*key, key.to_string())).collect();
        batches.lock().unwrap().push(keys);
        Ok(rows)
    }

    #[tokio::test]
    async fn what_is_asked_for_together_is_loaded_at_once_and_each_gets_its_own() {
        let seen = Batch::default();
        let batches = Batches::new(even, &seen);
        let rows = join_all([4, 3, 4, 2].map(|key| batches.load(key))).await;
        let rows: Vec<_> = rows.into_iter().map(|row| row.unwrap()).collect();
        assert_eq!(rows, [Some("4".into()), None, Some("4".into()), Some("2".into())]);
        assert_eq!(batches.load(6).await.unwrap().as_deref(), Some("6"));
        assert_eq!(*seen.lock().unwrap(), [vec![2, 3, 4], vec![6]]);
    }

    #[tokio::test]
    async fn a_batch_that_fails_fails_for_all_of_it_and_the_next_runs() {
        let batches = Batches::new(even, &Batch::default());
        for broken in [98, 99] {
            let rows = join_all([2, broken].map(|key| batches.load(key))).await;
            assert!(rows.iter().all(Result::is_err));
            assert_eq!(batches.load(2).await.unwrap().as_deref(), Some("2"));
        }
    }

    #[tokio::test]
    async fn who_asked_first_may_go_away() {
        let batches = Batches::new(even, &Batch::default());
        let _ = batches.load(2).now_or_never();
        assert_eq!(batches.load(4).await.unwrap().as_deref(), Some("4"));
    }
}

//! Process-wide loaders: concurrent requests for rows by key become one statement. They cache nothing and decide
//! nothing: what they give is [`Unchecked`] until the caller's permit opens it.

use std::{collections::HashMap, time::Duration};

use async_graphql::dataloader::{DataLoader, Loader};
use entity::{member, trigger};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    gate::{Gate, Permit, System, Unchecked},
    profiles, triggers,
};

/// The loaders of a node.
pub struct Loaders(DataLoader<Rows>);

struct Rows(Permit);

#[derive(Clone, PartialEq, Eq, Hash)]
struct MemberId(Uuid);

#[derive(Clone, PartialEq, Eq, Hash)]
struct FoldedUsername(String);

#[derive(Clone, PartialEq, Eq, Hash)]
struct TriggerId(Uuid);

#[derive(Clone, PartialEq, Eq, Hash)]
struct ActiveOf(Uuid);

impl Loaders {
    pub fn new(gate: &Gate) -> Self {
        Self(DataLoader::new(Rows(gate.system(System::Load)), tokio::spawn).delay(Duration::ZERO))
    }

    pub async fn member(&self, id: Uuid) -> Result<Option<Unchecked<member::Model>>> {
        self.0.load_one(MemberId(id)).await
    }

    /// By the username in lower case.
    pub async fn member_by_username(&self, folded: String) -> Result<Option<Unchecked<member::Model>>> {
        self.0.load_one(FoldedUsername(folded)).await
    }

    pub async fn trigger(&self, id: Uuid) -> Result<Option<Unchecked<trigger::Model>>> {
        self.0.load_one(TriggerId(id)).await
    }

    /// What a member has activated, first activated first.
    pub async fn active_triggers(&self, member: Uuid) -> Result<Vec<Unchecked<trigger::Model>>> {
        Ok(self.0.load_one(ActiveOf(member)).await?.unwrap_or_default())
    }
}

impl Loader<MemberId> for Rows {
    type Value = Unchecked<member::Model>;
    type Error = Error;

    async fn load(&self, keys: &[MemberId]) -> Result<HashMap<MemberId, Self::Value>> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = profiles::load_members(&self.0, &ids).await?;
        Ok(rows
            .into_iter()
            .map(|row| (MemberId(row.id), Unchecked::new(row)))
            .collect())
    }
}

impl Loader<FoldedUsername> for Rows {
    type Value = Unchecked<member::Model>;
    type Error = Error;

    async fn load(&self, keys: &[FoldedUsername]) -> Result<HashMap<FoldedUsername, Self::Value>> {
        let usernames: Vec<String> = keys.iter().map(|key| key.0.clone()).collect();
        let rows = profiles::load_members_by_username(&self.0, &usernames).await?;
        Ok(rows
            .into_iter()
            .map(|row| (FoldedUsername(row.username_key.clone()), Unchecked::new(row)))
            .collect())
    }
}

impl Loader<TriggerId> for Rows {
    type Value = Unchecked<trigger::Model>;
    type Error = Error;

    async fn load(&self, keys: &[TriggerId]) -> Result<HashMap<TriggerId, Self::Value>> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let rows = triggers::load(&self.0, &ids).await?;
        Ok(rows
            .into_iter()
            .map(|row| (TriggerId(row.id), Unchecked::new(row)))
            .collect())
    }
}

impl Loader<ActiveOf> for Rows {
    type Value = Vec<Unchecked<trigger::Model>>;
    type Error = Error;

    async fn load(&self, keys: &[ActiveOf]) -> Result<HashMap<ActiveOf, Self::Value>> {
        let members: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let mut active: HashMap<ActiveOf, Self::Value> = HashMap::new();
        for (member, row) in triggers::load_active(&self.0, &members).await? {
            active.entry(ActiveOf(member)).or_default().push(Unchecked::new(row));
        }
        Ok(active)
    }
}

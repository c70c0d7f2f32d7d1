use async_graphql::{Context, ID, Json, Object};
use entity::event;

use crate::{
    error::{Error, Result},
    event::EventKind,
    events,
    gate::Permit,
    graphql::{
        context::permit,
        page::{self, Entry, connection, no_cursor},
        scalars::DateTime,
    },
    id::IdKind,
};

/// Something that happened, as far as the caller may see it. `data` is spelled as REST spells that thing.
#[derive(Clone)]
pub struct Event {
    row: event::Model,
    permit: Permit,
}

impl Event {
    pub fn new(row: event::Model, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// Something that happened, as far as the caller may see it. `data` is spelled as REST spells that thing.
#[Object]
impl Event {
    /// The event's id, `evt_…`.
    pub async fn id(&self) -> ID {
        IdKind::Event.encode(self.row.id).into()
    }

    /// What happened.
    async fn kind(&self) -> Result<EventKind> {
        self.row.kind.parse().map_err(Error::internal)
    }

    /// When it happened.
    async fn timestamp(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }

    /// What it happened to, as it is now.
    async fn data(&self, ctx: &Context<'_>) -> Result<Json<serde_json::Value>> {
        let kind: EventKind = self.row.kind.parse().map_err(Error::internal)?;
        let data = ctx
            .data_unchecked::<events::Render>()
            .data(&self.permit, kind, self.row.object_id)
            .await?;
        Ok(Json(data))
    }
}

impl Entry for Event {
    fn cursor(&self) -> String {
        IdKind::Event.encode(self.row.id)
    }
}

connection!(EventConnection, EventEdge, Event, "events");

#[derive(Default)]
pub struct EventQuery;

#[Object]
impl EventQuery {
    /// The event log as far as the caller may see it, oldest first.
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to look for; absent: everything.")] kinds: Option<Vec<EventKind>>,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The id of the event to start after.")] after: Option<String>,
    ) -> Result<Option<EventConnection>> {
        let permit = permit(ctx)?;
        let first = page::first(first)?;
        if kinds.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("kinds", "must not be empty"));
        }
        let start = match &after {
            Some(cursor) => Some(IdKind::Event.decode(cursor).ok_or_else(|| no_cursor("after"))?),
            None => None,
        };
        let rows = events::list(&permit, kinds.as_deref(), start, first as u64 + 1).await?;
        let rows = rows.into_iter().map(|row| Event::new(row, &permit)).collect();
        Ok(Some(EventConnection::forwards(rows, first, after.is_some())))
    }
}

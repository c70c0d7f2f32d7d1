use async_graphql::{Context, ID, Json, Object};
use entity::event;
use futures_util::future::join_all;

use crate::{
    error::{Error, Kind, Result},
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
    /// Where it was rendered already.
    data: Option<serde_json::Value>,
    permit: Permit,
}

impl Event {
    pub fn new(row: event::Model, permit: &Permit) -> Self {
        Self {
            row,
            data: None,
            permit: permit.clone(),
        }
    }

    /// What a delivery of the caller's tells of, with the data that was sent, if it was.
    pub fn of_delivery(row: event::Model, data: Option<serde_json::Value>, permit: &Permit) -> Self {
        Self {
            row,
            data,
            permit: permit.clone(),
        }
    }

    async fn render(&self, ctx: &Context<'_>) -> Result<serde_json::Value> {
        let kind: EventKind = self.row.kind.parse().map_err(Error::internal)?;
        ctx.data_unchecked::<events::Render>()
            .data(&self.permit, kind, self.row.object_id)
            .await
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
        match &self.data {
            Some(data) => Ok(Json(data.clone())),
            None => self.render(ctx).await.map(Json),
        }
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
        let mut page = EventConnection::forwards(rows, first, after.is_some());
        page.nodes = still_visible(ctx, page.nodes).await?;
        Ok(Some(page))
    }
}

/// The events with their data. What was deleted or became private since the log was read is left out, as it would be if
/// the log were read now; it does not fail the whole list.
async fn still_visible(ctx: &Context<'_>, events: Vec<Event>) -> Result<Vec<Event>> {
    let rendered = join_all(events.iter().map(|event| event.render(ctx))).await;
    let mut visible = Vec::with_capacity(events.len());
    for (mut event, data) in events.into_iter().zip(rendered) {
        match data {
            Ok(data) => {
                event.data = Some(data);
                visible.push(event);
            }
            Err(gone) if matches!(gone.kind(), Kind::NotFound | Kind::ProfilePrivate) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(visible)
}

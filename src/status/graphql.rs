use std::sync::Arc;

use async_graphql::{Context, Object, SimpleObject};

use super::{Counts, Status};
use crate::{error::Result, graphql::context::permit};

/// How busy the server is.
#[derive(SimpleObject)]
pub struct ServerStatus {
    /// All rooms. Every member may enter each.
    rooms: i32,
    /// Who has an account, without those who are banned.
    members: i32,
    /// Messages that were sent in the last 60 seconds, in all rooms, deleted ones too.
    messages_last_minute: i32,
    /// Members who are connected to a room now, each once.
    online: i32,
}

impl From<Status> for ServerStatus {
    fn from(status: Status) -> Self {
        // GraphQL's Int ends where a count hardly gets.
        let int = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
        Self {
            rooms: int(status.rooms),
            members: int(status.members),
            messages_last_minute: int(status.messages_last_minute),
            online: i32::try_from(status.online).unwrap_or(i32::MAX),
        }
    }
}

#[derive(Default)]
pub struct StatusQuery;

#[Object]
impl StatusQuery {
    /// How busy the server is, for everyone to see. Counted at most once in 5 seconds: until then the same is told again.
    async fn server_status(&self, ctx: &Context<'_>) -> Result<ServerStatus> {
        let counts = ctx.data_unchecked::<Arc<Counts>>();
        Ok(counts.status(&permit(ctx)?).await?.into())
    }
}

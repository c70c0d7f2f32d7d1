//! The roots: what the slices bring, `viewer`, and `node`.

use async_graphql::{Context, ID, Interface, MergedObject, Object, Schema, SchemaBuilder, SimpleObject};

use super::{
    context::{admission, loaders, permit},
    execute::Engine,
    live::Described,
    scalars::DateTime,
};
use crate::{
    accounts::{
        self,
        graphql::{AccountMutation, ApiKey, Login},
    },
    ai::{
        self,
        graphql::{AiMutation, AiQuery, AiSubscription, Session, SessionConnection},
    },
    chat::graphql::{ChatMutation, ChatQuery, ChatSubscription, Message, Room, chat},
    error::{Error, Result},
    events::{
        self,
        graphql::{Event, EventQuery},
    },
    gate::{Permit, rules},
    id::{self, IdKind},
    moderation::{
        self,
        graphql::{AuditEntry, ModerationMutation, ModerationQuery, Report},
    },
    profiles::{
        self,
        graphql::{Profile, ProfileMutation, ProfileQuery, User},
    },
    status::graphql::StatusQuery,
    time,
    triggers::{
        self,
        graphql::{Consent, ConsentConnection, Trigger, TriggerMutation, TriggerQuery},
    },
    webhooks::{
        self,
        graphql::{Delivery, Webhook, WebhookConnection, WebhookMutation},
    },
};

/// Everything that can be read.
#[derive(MergedObject, Default)]
pub struct Query(
    RootQuery,
    ProfileQuery,
    TriggerQuery,
    EventQuery,
    ChatQuery,
    ModerationQuery,
    AiQuery,
    StatusQuery,
);

/// Everything that can be changed. Each takes what it acts on and one `input`, and returns what it changed.
#[derive(MergedObject, Default)]
pub struct Mutation(
    AccountMutation,
    ProfileMutation,
    TriggerMutation,
    ChatMutation,
    ModerationMutation,
    AiMutation,
    WebhookMutation,
);

/// What is told as it happens. Over WebSocket (graphql-transport-ws) or as an event stream (graphql-sse).
#[derive(MergedObject, Default)]
pub struct Subscription(ChatSubscription, AiSubscription);

type Builder = SchemaBuilder<Query, Mutation, Described<Subscription>>;

/// The schema, ready to run with what its resolvers find in the context: [`Loaders`](crate::loaders::Loaders),
/// [`Passwords`](crate::accounts::password::Passwords) and [`Render`](crate::events::Render).
pub fn engine(with_data: impl FnOnce(Builder) -> Builder) -> Engine {
    let builder = with_data(Schema::build(
        Query::default(),
        Mutation::default(),
        Described::default(),
    ));
    Engine::new(builder, Query::default(), Mutation::default(), Subscription::default())
}

/// Something with an id of its own.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "The id, whose prefix tells the type."))]
pub enum Node {
    User(User),
    Profile(Profile),
    Trigger(Trigger),
    Event(Event),
    ApiKey(ApiKey),
    Login(Login),
    Consent(Consent),
    Room(Room),
    Message(Message),
    Report(Report),
    AuditEntry(AuditEntry),
    Session(Session),
    Webhook(Webhook),
    Delivery(Delivery),
}

#[derive(Default)]
struct RootQuery;

#[Object]
impl RootQuery {
    /// Who is calling, and what is theirs.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Option<Viewer>> {
        Ok(Some(Viewer { permit: permit(ctx)? }))
    }

    /// Anything by its id, as far as the caller may see it.
    async fn node(&self, ctx: &Context<'_>, #[graphql(desc = "The id.")] id: ID) -> Result<Option<Node>> {
        let (kind, uuid) = id::parse(&id).ok_or_else(|| Error::not_found("node"))?;
        let permit = match ctx.data_opt::<events::Reader>() {
            Some(reader) => reader.permit().clone(),
            None => {
                let rule = rules::object(type_name(kind)).ok_or_else(|| Error::internal("a type without a rule"))?;
                admission(ctx)?.permit(rule)?
            }
        };
        let loaders = loaders(ctx);
        Ok(Some(match kind {
            IdKind::User => Node::User(User::new(profiles::user(&permit, loaders, uuid).await?, &permit)),
            IdKind::Profile => Node::Profile(Profile::new(
                profiles::by_member(&permit, loaders, uuid).await?,
                &permit,
            )),
            IdKind::Trigger => Node::Trigger(Trigger::new(triggers::by_id(&permit, loaders, uuid).await?, &permit)),
            IdKind::Event => Node::Event(Event::new(events::by_id(&permit, uuid).await?, &permit)),
            IdKind::Key => Node::ApiKey(ApiKey::new(accounts::key(&permit, uuid).await?)),
            IdKind::Login => Node::Login(Login::new(accounts::login(&permit, uuid).await?, &permit)),
            IdKind::Consent => Node::Consent(Consent::new(triggers::consent(&permit, uuid).await?, &permit)),
            IdKind::Room => Node::Room(Room::new(chat(ctx).room_by_id(&permit, uuid).await?, &permit)),
            IdKind::Message => {
                let view = chat(ctx).message(&permit, loaders, uuid).await?;
                Node::Message(Message::new(view, &permit))
            }
            IdKind::Report => Node::Report(Report::new(moderation::report_by_id(&permit, uuid).await?, &permit)),
            IdKind::Webhook => Node::Webhook(Webhook::new(webhooks::webhook(&permit, uuid).await?, &permit)),
            IdKind::Delivery => Node::Delivery(Delivery::new(webhooks::delivery(&permit, uuid).await?, &permit)),
            IdKind::Session => Node::Session(Session::new(ai::session(&permit, uuid).await?, &permit)),
            IdKind::AuditEntry => {
                Node::AuditEntry(AuditEntry::new(moderation::audit_entry(&permit, uuid).await?, &permit))
            }
        }))
    }
}

fn type_name(kind: IdKind) -> &'static str {
    match kind {
        IdKind::User => "User",
        IdKind::Profile => "Profile",
        IdKind::Trigger => "Trigger",
        IdKind::Key => "ApiKey",
        IdKind::Login => "Login",
        IdKind::Event => "Event",
        IdKind::Consent => "Consent",
        IdKind::Room => "Room",
        IdKind::Message => "Message",
        IdKind::Report => "Report",
        IdKind::AuditEntry => "AuditEntry",
        IdKind::Session => "Session",
        IdKind::Webhook => "Webhook",
        IdKind::Delivery => "Delivery",
    }
}

/// GraphQL's Int ends where a limit hardly gets.
fn count(fields: u32) -> i32 {
    i32::try_from(fields).unwrap_or(i32::MAX)
}

/// What is left of the caller's budget.
#[derive(SimpleObject)]
pub struct RateLimit {
    /// Root fields a minute.
    limit: i32,
    /// What is left of them.
    remaining: i32,
    /// When the minute is over.
    reset_at: DateTime,
}

/// Who is calling, and what is theirs.
pub struct Viewer {
    permit: Permit,
}

/// Who is calling, and what is theirs.
#[Object]
impl Viewer {
    /// The caller as other members see them.
    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        Ok(User::new(
            profiles::own(&self.permit, loaders(ctx)).await?,
            &self.permit,
        ))
    }

    /// The caller's e-mail address, which nobody else sees.
    async fn email(&self) -> Result<Option<String>> {
        accounts::email(&self.permit).await
    }

    /// The caller's profile.
    async fn profile(&self, ctx: &Context<'_>) -> Result<Profile> {
        Ok(Profile::new(
            profiles::own(&self.permit, loaders(ctx)).await?,
            &self.permit,
        ))
    }

    /// A session of the caller's, by its id.
    async fn session(&self, #[graphql(desc = "The session's id.")] id: ID) -> Result<Option<Session>> {
        Ok(Some(ai::graphql::session(&self.permit, &id).await?))
    }

    /// The caller's sessions with AI companions, newest first.
    async fn sessions(
        &self,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<SessionConnection>> {
        Ok(Some(ai::graphql::sessions(&self.permit, first, after).await?))
    }

    /// A webhook of the caller's, by its id.
    async fn webhook(&self, #[graphql(desc = "The webhook's id.")] id: ID) -> Result<Option<Webhook>> {
        Ok(Some(webhooks::graphql::webhook(&self.permit, &id).await?))
    }

    /// The caller's webhooks, newest first.
    async fn webhooks(
        &self,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<WebhookConnection>> {
        Ok(Some(webhooks::graphql::webhooks(&self.permit, first, after).await?))
    }

    /// The caller's API keys, newest first.
    async fn api_keys(&self) -> Result<Option<Vec<ApiKey>>> {
        Ok(Some(
            accounts::keys(&self.permit)
                .await?
                .into_iter()
                .map(ApiKey::new)
                .collect(),
        ))
    }

    /// Where the caller is logged in, newest first.
    async fn logins(&self) -> Result<Option<Vec<Login>>> {
        let rows = accounts::logins(&self.permit).await?;
        Ok(Some(
            rows.into_iter().map(|row| Login::new(row, &self.permit)).collect(),
        ))
    }

    /// Whom the caller has blocked, first blocked first.
    async fn blocked(&self) -> Result<Option<Vec<User>>> {
        Ok(Some(moderation::graphql::blocked(&self.permit).await?))
    }

    /// Whether all of the caller's triggers are out of use.
    async fn triggers_paused(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(profiles::own(&self.permit, loaders(ctx)).await?.triggers_paused)
    }

    /// Every activation, deactivation and pause, newest first.
    async fn consents(
        &self,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<ConsentConnection>> {
        Ok(Some(triggers::graphql::consents(&self.permit, first, after).await?))
    }

    /// Null where no limit is set.
    async fn rate_limit(&self) -> Result<Option<RateLimit>> {
        let budget = self.permit.gate().budget(self.permit.caller()).await;
        Ok(budget.map(|budget| RateLimit {
            limit: count(budget.limit),
            remaining: count(budget.remaining),
            reset_at: DateTime::new(time::now() + i64::try_from(budget.reset.as_millis()).unwrap_or(i64::MAX / 2)),
        }))
    }
}

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use entity::{consent, trigger};
use uuid::Uuid;

use super::{Change, ConsentKind, New, Page, Pause, View};
use crate::{
    error::{Error, Result},
    gate::Permit,
    graphql::{
        context::{loaders, permit, permit_once},
        page::{self, Entry, connection, no_cursor},
        resolve::One,
        scalars::DateTime,
    },
    id::IdKind,
    profiles::graphql::{Profile, User},
    triggers,
};

/// A short named cue that a member wrote. It is used on nobody who has not activated it.
#[derive(Clone)]
pub struct Trigger {
    row: View,
    permit: Permit,
}

impl Trigger {
    /// Of a row that the caller may see.
    pub fn new(row: View, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

impl Trigger {
    /// Of a row of the caller's own.
    fn own(row: trigger::Model, permit: &Permit) -> Result<Self> {
        Ok(Self::new(View::new(row, &permit.member()?.username), permit))
    }
}

/// A short named cue that a member wrote. It is used on nobody who has not activated it.
#[Object]
impl Trigger {
    /// The trigger's id, `trigger_…`.
    pub async fn id(&self) -> ID {
        IdKind::Trigger.encode(self.row.id).into()
    }

    /// Its name, unique among its creator's triggers whatever the case.
    async fn name(&self) -> &str {
        &self.row.name
    }

    /// What it is for.
    async fn description(&self) -> &str {
        &self.row.description
    }

    /// Whether others than its creator may see and activate it.
    async fn is_public(&self) -> bool {
        self.row.is_public
    }

    /// Who wrote it.
    async fn creator(&self) -> One<User> {
        One(User::named(self.row.creator_id, &self.row.creator, &self.permit))
    }

    /// The activation text, for everyone who may see the trigger.
    async fn content(&self) -> &str {
        &self.row.content
    }

    /// Grows with each edit of name or content.
    async fn revision(&self) -> i32 {
        self.row.revision
    }

    /// When it was written.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }
}

impl Entry for Trigger {
    fn cursor(&self) -> String {
        page::opaque(&self.row.id.simple().to_string())
    }
}

fn read_cursor(cursor: &str) -> Result<Uuid> {
    Uuid::try_parse(&page::reveal(cursor)?).map_err(|_| no_cursor("after"))
}

connection!(TriggerConnection, TriggerEdge, Trigger, "triggers");

/// A receipt: what the caller consented to or took back, and when.
#[derive(Clone)]
pub struct Consent {
    row: consent::Model,
    permit: Permit,
}

impl Consent {
    pub fn new(row: consent::Model, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// A receipt: what the caller consented to or took back, and when.
#[Object]
impl Consent {
    /// The receipt's id, `consent_…`.
    pub async fn id(&self) -> ID {
        IdKind::Consent.encode(self.row.id).into()
    }

    /// What happened.
    async fn kind(&self) -> Result<ConsentKind> {
        self.row.kind.parse().map_err(Error::internal)
    }

    /// The trigger that it is about; null for a pause, and where the trigger is gone or no longer to be seen.
    async fn trigger(&self, ctx: &Context<'_>) -> Result<Option<Trigger>> {
        let Some(id) = self.row.trigger_id else {
            return Ok(None);
        };
        let row = loaders(ctx).trigger(id).await?;
        let row = row.and_then(|row| self.permit.see(row, triggers::may_see).ok());
        Ok(row.map(|row| Trigger::new(row, &self.permit)))
    }

    /// The revision of the trigger that it is about.
    async fn revision(&self) -> Option<i32> {
        self.row.revision
    }

    /// When it happened.
    async fn timestamp(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }
}

impl Entry for Consent {
    fn cursor(&self) -> String {
        page::opaque(&self.row.n.to_string())
    }
}

connection!(ConsentConnection, ConsentEdge, Consent, "receipts of consent");

/// The caller's receipts, newest first.
pub async fn consents(permit: &Permit, first: i32, after: Option<String>) -> Result<ConsentConnection> {
    let first = page::first(first)?;
    let start = match &after {
        Some(cursor) => Some(page::reveal(cursor)?.parse().map_err(|_| no_cursor("after"))?),
        None => None,
    };
    let rows = triggers::consents(permit, start, first as u64 + 1).await?;
    let rows = rows.into_iter().map(|row| Consent::new(row, permit)).collect();
    Ok(ConsentConnection::forwards(rows, first, after.is_some()))
}

/// A new trigger.
#[derive(InputObject)]
pub struct CreateTriggerInput {
    /// 1 to 64 characters, unique among the caller's triggers whatever the case.
    name: String,
    /// What it is for, up to 500 characters.
    #[graphql(default_with = "Some(String::new())")]
    description: Option<String>,
    /// Whether others may see and activate it.
    #[graphql(default_with = "Some(false)")]
    is_public: Option<bool>,
    /// The activation text, 1 to 2,000 characters.
    content: String,
}

/// What is absent or null stays.
#[derive(InputObject)]
pub struct UpdateTriggerInput {
    /// 1 to 64 characters. A new one makes a new revision.
    name: Option<String>,
    /// What it is for, up to 500 characters.
    description: Option<String>,
    /// Whether others may see and activate it. Making it private deactivates it for everybody else.
    is_public: Option<bool>,
    /// The activation text, 1 to 2,000 characters. A new one makes a new revision.
    content: Option<String>,
}

/// The new trigger.
#[derive(SimpleObject)]
pub struct CreateTriggerPayload {
    /// The trigger.
    trigger: Trigger,
}

/// The trigger as it is now.
#[derive(SimpleObject)]
pub struct UpdateTriggerPayload {
    /// The trigger.
    trigger: Trigger,
}

/// The trigger as it was.
#[derive(SimpleObject)]
pub struct DeleteTriggerPayload {
    /// The trigger.
    trigger: Trigger,
}

/// The caller's profile with the trigger.
#[derive(SimpleObject)]
pub struct ActivateTriggerPayload {
    /// The caller's profile.
    profile: Profile,
}

/// The caller's profile without the trigger.
#[derive(SimpleObject)]
pub struct DeactivateTriggerPayload {
    /// The caller's profile.
    profile: Profile,
}

/// The caller's profile, whose list of triggers a pause does not change.
#[derive(SimpleObject)]
pub struct PauseTriggersPayload {
    /// The caller's profile.
    profile: Profile,
}

/// The caller's profile, whose list of triggers a pause has not changed.
#[derive(SimpleObject)]
pub struct ResumeTriggersPayload {
    /// The caller's profile.
    profile: Profile,
}

/// The UUID of a trigger's id.
///
/// # Errors
///
/// `NOT_FOUND` for what is no trigger's id.
fn trigger_id(id: &ID) -> Result<Uuid> {
    IdKind::Trigger.decode(id).ok_or_else(|| Error::not_found("trigger"))
}

#[derive(Default)]
pub struct TriggerQuery;

#[Object]
impl TriggerQuery {
    /// A trigger: public, or the caller's own.
    async fn trigger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The trigger's id.")] id: ID,
    ) -> Result<Option<Trigger>> {
        let permit = permit(ctx)?;
        let row = triggers::by_id(&permit, loaders(ctx), trigger_id(&id)?).await?;
        Ok(Some(Trigger::new(row, &permit)))
    }

    /// Public triggers and the caller's own, newest first.
    async fn triggers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Text that the name or description has, whatever the case.")] search: Option<String>,
        #[graphql(desc = "The username of who wrote them, whatever its case.")] creator: Option<String>,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<TriggerConnection>> {
        let permit = permit(ctx)?;
        let first = page::first(first)?;
        let start = after.as_deref().map(read_cursor).transpose()?;
        let creator = creator.map(|username| username.to_ascii_lowercase());
        let rows = triggers::list(
            &permit,
            Page {
                search,
                creator,
                after: start,
                limit: first as u64 + 1,
            },
        )
        .await?;
        let rows = rows.into_iter().map(|row| Trigger::new(row, &permit)).collect();
        Ok(Some(TriggerConnection::forwards(rows, first, after.is_some())))
    }
}

#[derive(Default)]
pub struct TriggerMutation;

#[Object]
impl TriggerMutation {
    /// Writes a trigger.
    async fn create_trigger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new trigger.")] input: CreateTriggerInput,
    ) -> Result<Option<CreateTriggerPayload>> {
        let new = New {
            name: input.name,
            description: input.description.unwrap_or_default(),
            is_public: input.is_public.unwrap_or_default(),
            content: input.content,
        };
        let permit = permit_once(ctx, &new)?;
        let row = triggers::create(&permit, new).await?;
        Ok(Some(CreateTriggerPayload {
            trigger: Trigger::own(row, &permit)?,
        }))
    }

    /// Changes a trigger of the caller's. An edit of name or content makes a new revision and deactivates the trigger
    /// for everybody else; making it private does too.
    async fn update_trigger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The trigger's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateTriggerInput,
    ) -> Result<Option<UpdateTriggerPayload>> {
        let change = Change {
            name: input.name,
            description: input.description,
            is_public: input.is_public,
            content: input.content,
        };
        let permit = permit_once(ctx, &(&*id, &change))?;
        let row = triggers::update(&permit, trigger_id(&id)?, change).await?;
        Ok(Some(UpdateTriggerPayload {
            trigger: Trigger::own(row, &permit)?,
        }))
    }

    /// Deletes a trigger of the caller's, and deactivates it for everybody.
    async fn delete_trigger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The trigger's id.")] id: ID,
    ) -> Result<Option<DeleteTriggerPayload>> {
        let permit = permit_once(ctx, &*id)?;
        let row = triggers::delete(&permit, trigger_id(&id)?).await?;
        Ok(Some(DeleteTriggerPayload {
            trigger: Trigger::own(row, &permit)?,
        }))
    }

    /// Puts a trigger on the caller's own profile: consent, given, to this revision (absent: the current one).
    /// `deactivateTrigger` takes it back.
    async fn activate_trigger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The trigger's id.")] id: ID,
        #[graphql(desc = "The revision that the caller has read; an outdated one is refused.")] revision: Option<i32>,
    ) -> Result<Option<ActivateTriggerPayload>> {
        let permit = permit_once(ctx, &(&*id, revision))?;
        let row = triggers::activate(&permit, trigger_id(&id)?, revision).await?;
        Ok(Some(ActivateTriggerPayload {
            profile: Profile::new(row, &permit),
        }))
    }

    /// Takes a trigger off the caller's own profile: consent, taken back. One that is not on it is no error.
    async fn deactivate_trigger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The trigger's id.")] id: ID,
    ) -> Result<Option<DeactivateTriggerPayload>> {
        let permit = permit_once(ctx, &*id)?;
        let row = triggers::deactivate(&permit, trigger_id(&id)?).await?;
        Ok(Some(DeactivateTriggerPayload {
            profile: Profile::new(row, &permit),
        }))
    }

    /// Takes all of the caller's triggers out of every use at once, without losing the list.
    async fn pause_triggers(&self, ctx: &Context<'_>) -> Result<Option<PauseTriggersPayload>> {
        let permit = permit_once(ctx, &())?;
        let row = triggers::pause(&permit, Pause::Begin).await?;
        Ok(Some(PauseTriggersPayload {
            profile: Profile::new(row, &permit),
        }))
    }

    /// Ends a pause.
    async fn resume_triggers(&self, ctx: &Context<'_>) -> Result<Option<ResumeTriggersPayload>> {
        let permit = permit_once(ctx, &())?;
        let row = triggers::pause(&permit, Pause::End).await?;
        Ok(Some(ResumeTriggersPayload {
            profile: Profile::new(row, &permit),
        }))
    }
}

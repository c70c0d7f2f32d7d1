use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use entity::member;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Change, Order, Page, Seen, avatar, xp};
use crate::{
    error::{Error, Result},
    gate::{Permit, rules::Role},
    graphql::{
        context::{files, loaders, permit, permit_once, public_url},
        page::{self, Entry, connection, no_cursor},
        resolve::{Many, One},
        scalars::{DateTime, Upload, Url},
    },
    id::IdKind,
    profiles,
    text::could_be_username,
    triggers::{self, graphql::Trigger},
};

/// A member as all members see them. What they may keep private is on the profile.
#[derive(Clone)]
pub struct User {
    known: Known,
    permit: Permit,
}

/// What is known of a member without asking.
#[derive(Clone)]
enum Known {
    All(Arc<member::Model>),
    Name { id: Uuid, username: String },
    Seen(Seen),
}

impl User {
    pub fn new(row: impl Into<Arc<member::Model>>, permit: &Permit) -> Self {
        Self {
            known: Known::All(row.into()),
            permit: permit.clone(),
        }
    }

    /// A member of whom the rest is fetched when it is asked for.
    pub fn named(id: Uuid, username: &str, permit: &Permit) -> Self {
        Self {
            known: Known::Name {
                id,
                username: username.to_owned(),
            },
            permit: permit.clone(),
        }
    }

    /// What everyone sees of a member.
    pub fn seen(seen: Seen, permit: &Permit) -> Self {
        Self {
            known: Known::Seen(seen),
            permit: permit.clone(),
        }
    }

    fn id_of(&self) -> Uuid {
        match &self.known {
            Known::All(row) => row.id,
            Known::Name { id, .. } => *id,
            Known::Seen(seen) => seen.id,
        }
    }

    async fn row(&self, ctx: &Context<'_>) -> Result<Arc<member::Model>> {
        match &self.known {
            Known::All(row) => Ok(row.clone()),
            _ => profiles::user(&self.permit, loaders(ctx), self.id_of()).await,
        }
    }
}

/// A member as all members see them. What they may keep private is on the profile.
#[Object]
impl User {
    /// The member's id, `user_…`.
    pub async fn id(&self) -> ID {
        IdKind::User.encode(self.id_of()).into()
    }

    /// The name by which members are found, whatever its case. It does not change.
    async fn username(&self) -> &str {
        match &self.known {
            Known::All(row) => &row.username,
            Known::Name { username, .. } => username,
            Known::Seen(seen) => &seen.username,
        }
    }

    /// What the member may do beside what every member may.
    async fn role(&self, ctx: &Context<'_>) -> Result<Role> {
        let role = match &self.known {
            Known::Seen(seen) => seen.role.parse(),
            _ => self.row(ctx).await?.role.parse(),
        };
        role.map_err(Error::internal)
    }

    /// When the member registered.
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime::new(match &self.known {
            Known::Seen(seen) => seen.created_at,
            _ => self.row(ctx).await?.created_at,
        }))
    }

    /// Null, without an error, where it is private and the caller is neither its owner nor a moderator.
    async fn profile(&self, ctx: &Context<'_>) -> Result<Option<One<Profile>>> {
        // Blocked members are named where the caller keeps order, or sees whom they have blocked.
        if self.permit.caller().hides(self.id_of()) {
            return Ok(None);
        }
        let row = self.row(ctx).await?;
        Ok(match profiles::may_see(self.permit.caller(), &row) {
            Ok(()) => Some(One(Profile::new(row, &self.permit))),
            Err(_) => None,
        })
    }
}

/// What a member shows of themselves.
#[derive(Clone)]
pub struct Profile {
    row: Arc<member::Model>,
    permit: Permit,
}

impl Profile {
    /// Of a row that the caller may see.
    pub fn new(row: impl Into<Arc<member::Model>>, permit: &Permit) -> Self {
        Self {
            row: row.into(),
            permit: permit.clone(),
        }
    }
}

/// What a member shows of themselves.
#[Object]
impl Profile {
    /// The profile's id, `profile_…`.
    pub async fn id(&self) -> ID {
        IdKind::Profile.encode(self.row.id).into()
    }

    /// Whose profile it is.
    async fn username(&self) -> &str {
        &self.row.username
    }

    /// What the member wants to be called; the username until they say otherwise.
    async fn display_name(&self) -> &str {
        &self.row.display_name
    }

    /// A picture of the member.
    async fn avatar_url(&self, ctx: &Context<'_>) -> Option<Url> {
        let url = self.row.avatar_url.as_deref()?;
        // One that was uploaded is kept as its path here.
        Some(Url(match url.starts_with('/') {
            true => public_url(ctx).of(url),
            false => url.to_owned(),
        }))
    }

    /// Whether others than the member and moderators may see this profile.
    async fn is_public(&self) -> bool {
        self.row.is_public
    }

    /// Experience points, given by the server.
    async fn xp(&self) -> i32 {
        self.row.xp
    }

    /// The largest n with 50·n² ≤ xp, at least 1: 1250 xp is level 5.
    async fn level(&self) -> i32 {
        xp::level(self.row.xp)
    }

    /// When the member registered.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }

    /// The triggers that this member has activated, first activated first; to others only the public ones.
    async fn triggers(&self, ctx: &Context<'_>) -> Result<Many<'_, Trigger>> {
        let rows = triggers::active(&self.permit, loaders(ctx), self.row.id).await?;
        let triggers = rows.into_iter().map(|row| Trigger::new(row, &self.permit));
        Ok(Many::Owned(triggers.collect()))
    }
}

impl Entry for Profile {
    /// Serves both orders: an XP and a username.
    fn cursor(&self) -> String {
        page::opaque(&format!("{}:{}", self.row.xp, self.row.username_key))
    }
}

fn read_cursor(cursor: &str) -> Result<(i32, String)> {
    let text = page::reveal(cursor)?;
    let (xp, username) = text.split_once(':').ok_or_else(|| no_cursor("after"))?;
    if !could_be_username(username) {
        return Err(no_cursor("after"));
    }
    Ok((xp.parse().map_err(|_| no_cursor("after"))?, username.to_owned()))
}

connection!(ProfileConnection, ProfileEdge, Profile, "profiles");

/// How profiles are listed.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub enum ProfileOrder {
    /// By username, from A to Z.
    Username,
    /// By experience points, most first: the leaderboard.
    Xp,
}

/// What is absent stays. `avatarUrl: null` takes the avatar away; null elsewhere is as absent.
#[derive(InputObject)]
pub struct UpdateProfileInput {
    /// 1 to 64 characters.
    display_name: Option<String>,
    /// The address of a picture, or null to take it away.
    avatar_url: MaybeUndefined<Url>,
    /// Whether others than the member and moderators may see the profile.
    is_public: Option<bool>,
}

/// The profile as it is now.
#[derive(SimpleObject)]
pub struct UpdateProfilePayload {
    /// The caller's profile.
    profile: Profile,
}

/// The profile with its new avatar.
#[derive(SimpleObject)]
pub struct UploadAvatarPayload {
    /// The caller's profile.
    profile: Profile,
}

#[derive(Default)]
pub struct ProfileQuery;

#[Object]
impl ProfileQuery {
    /// The profile of a member.
    async fn profile(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose profile, whatever the case.")] username: String,
    ) -> Result<Option<One<Profile>>> {
        let permit = permit(ctx)?;
        let row = profiles::by_username(&permit, loaders(ctx), &username).await?;
        Ok(Some(One(Profile::new(row, &permit))))
    }

    /// The profiles that the caller may see; by XP it is the leaderboard.
    async fn profiles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Text that the username or display name has, whatever the case.")] search: Option<String>,
        #[graphql(desc = "How they are listed.", default_with = "ProfileOrder::Username")] order_by: ProfileOrder,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<ProfileConnection>> {
        let permit = permit(ctx)?;
        let first = page::first(first)?;
        let order = match order_by {
            ProfileOrder::Username => Order::Username,
            ProfileOrder::Xp => Order::Xp,
        };
        let start = after.as_deref().map(read_cursor).transpose()?;
        let asked = Page {
            search,
            order,
            after: start,
            limit: first as u64 + 1,
        };
        let rows = profiles::list(&permit, asked).await?;
        let rows = rows.into_iter().map(|row| Profile::new(row, &permit)).collect();
        Ok(Some(ProfileConnection::forwards(rows, first, after.is_some())))
    }
}

#[derive(Default)]
pub struct ProfileMutation;

#[Object]
impl ProfileMutation {
    /// Changes the caller's own profile.
    async fn update_profile(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The caller's username.")] username: String,
        #[graphql(desc = "What to change.")] input: UpdateProfileInput,
    ) -> Result<Option<UpdateProfilePayload>> {
        let change = Change {
            display_name: input.display_name,
            avatar_url: match input.avatar_url {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(url) => Some(Some(url.0)),
            },
            is_public: input.is_public,
        };
        let permit = permit_once(ctx, &(username.to_ascii_lowercase(), &change))?;
        let url = change.avatar_url.as_ref().and_then(Option::as_ref);
        let own_avatar = url.and_then(|url| public_url(ctx).path_in(url)).map(str::to_owned);
        let row = profiles::update(&permit, loaders(ctx), files(ctx), &username, change, own_avatar).await?;
        Ok(Some(UpdateProfilePayload {
            profile: Profile::new(row, &permit),
        }))
    }

    /// Makes a picture the caller's avatar: PNG, JPEG or WebP, up to 5 MiB and 16 megapixels. It is kept at most 512
    /// pixels wide and high, without metadata.
    async fn upload_avatar(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The picture, by the GraphQL multipart request.")] file: Upload,
    ) -> Result<Option<UploadAvatarPayload>> {
        let digest = Sha256::digest(&file.0);
        let permit = permit_once(ctx, &digest.as_slice())?;
        let row = avatar::upload(&permit, files(ctx), file.0).await?;
        Ok(Some(UploadAvatarPayload {
            profile: Profile::new(row, &permit),
        }))
    }
}

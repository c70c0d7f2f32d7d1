//! Who may do what: the one table of rules, from which the `@allow` directives of `schema.graphql` come.

use async_graphql::Enum;

use self::Scope::{
    AiGenerate, ChatRead, ChatWrite, EventsRead, ProfileRead, ProfileWrite, SessionsRead, SessionsWrite, TriggersRead,
    TriggersWrite, WebhooksRead, WebhooksWrite,
};

/// What a member may do beside what every member may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum)]
pub enum Role {
    /// Everyone who has registered.
    Member,
    /// Keeps order: sees private profiles and reports, mutes and bans members.
    Moderator,
    /// Runs the community: acts on moderators too, and reads the audit log.
    Admin,
}

/// One thing that an API key may be allowed to do. A write scope includes its area's read scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum)]
pub enum Scope {
    /// Read profiles.
    ProfileRead,
    /// Change one's own profile; includes `PROFILE_READ`.
    ProfileWrite,
    /// Read triggers, activations and receipts of consent.
    TriggersRead,
    /// Write, activate and pause triggers; includes `TRIGGERS_READ`.
    TriggersWrite,
    /// Generate answers and see the models.
    AiGenerate,
    /// Read one's session histories.
    SessionsRead,
    /// Delete session histories; includes `SESSIONS_READ`.
    SessionsWrite,
    /// Read rooms and their messages.
    ChatRead,
    /// Send messages, create rooms, block and report; includes `CHAT_READ`.
    ChatWrite,
    /// Read one's webhooks and their deliveries.
    WebhooksRead,
    /// Create, change and delete webhooks; includes `WEBHOOKS_READ`.
    WebhooksWrite,
    /// Read the event log.
    EventsRead,
    /// Use what the member's role as moderator or admin allows.
    Moderate,
}

/// A fixed set of names that an enum's values go by: `GRAPHQL_NAME`, wire spelling.
macro_rules! names {
    ($ty:ident { $($variant:ident = $graphql:literal, $wire:literal;)* }) => {
        impl $ty {
            pub const ALL: &'static [$ty] = &[$($ty::$variant),*];

            /// As GraphQL spells it.
            pub fn graphql(self) -> &'static str {
                match self { $($ty::$variant => $graphql),* }
            }

            /// As REST, the chat socket, the command line and the database spell it.
            pub fn wire(self) -> &'static str {
                match self { $($ty::$variant => $wire),* }
            }
        }

        impl std::str::FromStr for $ty {
            type Err = String;

            /// Takes either spelling.
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.wire() == text || value.graphql() == text)
                    .ok_or_else(|| {
                        let known: Vec<_> = Self::ALL.iter().map(|value| value.wire()).collect();
                        format!("is not one of {}", known.join(", "))
                    })
            }
        }
    };
}
pub(crate) use names;

names!(Role {
    Member = "MEMBER", "member";
    Moderator = "MODERATOR", "moderator";
    Admin = "ADMIN", "admin";
});

names!(Scope {
    ProfileRead = "PROFILE_READ", "profile:read";
    ProfileWrite = "PROFILE_WRITE", "profile:write";
    TriggersRead = "TRIGGERS_READ", "triggers:read";
    TriggersWrite = "TRIGGERS_WRITE", "triggers:write";
    AiGenerate = "AI_GENERATE", "ai:generate";
    SessionsRead = "SESSIONS_READ", "sessions:read";
    SessionsWrite = "SESSIONS_WRITE", "sessions:write";
    ChatRead = "CHAT_READ", "chat:read";
    ChatWrite = "CHAT_WRITE", "chat:write";
    WebhooksRead = "WEBHOOKS_READ", "webhooks:read";
    WebhooksWrite = "WEBHOOKS_WRITE", "webhooks:write";
    EventsRead = "EVENTS_READ", "events:read";
    Moderate = "MODERATE", "moderate";
});

impl Scope {
    /// Whether holding `self` allows what needs `needed`.
    pub fn includes(self, needed: Scope) -> bool {
        self == needed
            || matches!(
                (self, needed),
                (Scope::ProfileWrite, Scope::ProfileRead)
                    | (Scope::TriggersWrite, Scope::TriggersRead)
                    | (Scope::SessionsWrite, Scope::SessionsRead)
                    | (Scope::ChatWrite, Scope::ChatRead)
                    | (Scope::WebhooksWrite, Scope::WebhooksRead)
            )
    }
}

/// Who may use a field or reach an object: `@allow` in the SDL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Whether nobody in particular may.
    pub anonymous: bool,
    /// The least role that may.
    pub role: Role,
    /// What an API key must hold beside.
    pub scope: Option<Scope>,
    /// Whether only someone who is logged in may, and no API key.
    pub login: bool,
}

impl Rule {
    pub const MEMBER: Rule = Rule {
        anonymous: false,
        role: Role::Member,
        scope: None,
        login: false,
    };
    pub const ANYONE: Rule = Rule {
        anonymous: true,
        ..Rule::MEMBER
    };
    /// A member who is logged in: no API key.
    pub const LOGIN: Rule = Rule {
        login: true,
        ..Rule::MEMBER
    };

    /// Those who keep order, from this role on; a key with the scope for it.
    pub const fn order(role: Role) -> Rule {
        Rule {
            role,
            scope: Some(Scope::Moderate),
            ..Rule::MEMBER
        }
    }

    pub const fn scope(scope: Scope) -> Rule {
        Rule {
            scope: Some(scope),
            ..Rule::MEMBER
        }
    }
}

/// The rule of every root field, every field of `Viewer`, and every field whose rule stands in for that of its type.
pub const FIELDS: &[(&str, &str, Rule)] = &[
    ("Query", "viewer", Rule::MEMBER),
    ("Query", "node", Rule::MEMBER),
    ("Query", "profile", Rule::scope(ProfileRead)),
    ("Query", "profiles", Rule::scope(ProfileRead)),
    ("Query", "trigger", Rule::scope(TriggersRead)),
    ("Query", "triggers", Rule::scope(TriggersRead)),
    ("Query", "events", Rule::scope(EventsRead)),
    ("Query", "room", Rule::scope(ChatRead)),
    ("Query", "rooms", Rule::scope(ChatRead)),
    ("Query", "models", Rule::scope(AiGenerate)),
    ("Query", "serverStatus", Rule::ANYONE),
    ("Query", "reports", Rule::order(Role::Moderator)),
    ("Query", "auditLog", Rule::order(Role::Admin)),
    ("Viewer", "user", Rule::MEMBER),
    ("Viewer", "email", Rule::MEMBER),
    ("Viewer", "profile", Rule::scope(ProfileRead)),
    ("Viewer", "session", Rule::scope(SessionsRead)),
    ("Viewer", "sessions", Rule::scope(SessionsRead)),
    ("Viewer", "webhook", Rule::scope(WebhooksRead)),
    ("Viewer", "webhooks", Rule::scope(WebhooksRead)),
    ("Viewer", "apiKeys", Rule::MEMBER),
    ("Viewer", "logins", Rule::LOGIN),
    ("Viewer", "blocked", Rule::MEMBER),
    ("Viewer", "triggersPaused", Rule::scope(TriggersRead)),
    ("Viewer", "consents", Rule::scope(TriggersRead)),
    ("Viewer", "rateLimit", Rule::MEMBER),
    ("Profile", "triggers", Rule::scope(ProfileRead)),
    ("GeneratePayload", "triggers", Rule::scope(AiGenerate)),
    ("Mutation", "register", Rule::ANYONE),
    ("Mutation", "login", Rule::ANYONE),
    ("Mutation", "logout", Rule::LOGIN),
    ("Mutation", "revokeLogin", Rule::LOGIN),
    ("Mutation", "changePassword", Rule::LOGIN),
    ("Mutation", "deleteAccount", Rule::LOGIN),
    ("Mutation", "createSocketTicket", Rule::MEMBER),
    ("Mutation", "createApiKey", Rule::LOGIN),
    ("Mutation", "revokeApiKey", Rule::LOGIN),
    ("Mutation", "updateProfile", Rule::scope(ProfileWrite)),
    ("Mutation", "uploadAvatar", Rule::scope(ProfileWrite)),
    ("Mutation", "createTrigger", Rule::scope(TriggersWrite)),
    ("Mutation", "updateTrigger", Rule::scope(TriggersWrite)),
    ("Mutation", "deleteTrigger", Rule::scope(TriggersWrite)),
    ("Mutation", "activateTrigger", Rule::scope(TriggersWrite)),
    ("Mutation", "deactivateTrigger", Rule::scope(TriggersWrite)),
    ("Mutation", "pauseTriggers", Rule::scope(TriggersWrite)),
    ("Mutation", "resumeTriggers", Rule::scope(TriggersWrite)),
    ("Mutation", "generate", Rule::scope(AiGenerate)),
    ("Mutation", "deleteSession", Rule::scope(SessionsWrite)),
    ("Mutation", "createRoom", Rule::scope(ChatWrite)),
    ("Mutation", "sendMessage", Rule::scope(ChatWrite)),
    ("Mutation", "editMessage", Rule::scope(ChatWrite)),
    ("Mutation", "deleteMessage", Rule::scope(ChatWrite)),
    ("Mutation", "blockMember", Rule::scope(ChatWrite)),
    ("Mutation", "unblockMember", Rule::scope(ChatWrite)),
    ("Mutation", "reportMessage", Rule::scope(ChatWrite)),
    ("Mutation", "muteMember", Rule::order(Role::Moderator)),
    ("Mutation", "banMember", Rule::order(Role::Moderator)),
    ("Mutation", "closeReport", Rule::order(Role::Moderator)),
    ("Mutation", "reinstateMember", Rule::order(Role::Moderator)),
    ("Mutation", "createWebhook", Rule::scope(WebhooksWrite)),
    ("Mutation", "updateWebhook", Rule::scope(WebhooksWrite)),
    ("Mutation", "deleteWebhook", Rule::scope(WebhooksWrite)),
    ("Mutation", "pingWebhook", Rule::scope(WebhooksWrite)),
    ("Mutation", "redeliver", Rule::scope(WebhooksWrite)),
    ("Subscription", "messageAdded", Rule::scope(ChatRead)),
    ("Subscription", "roomChanged", Rule::scope(ChatRead)),
    ("Subscription", "generation", Rule::scope(AiGenerate)),
];

/// The rule of every object that has one: checked wherever one is reached.
pub const OBJECTS: &[(&str, Rule)] = &[
    ("User", Rule::MEMBER),
    ("Profile", Rule::scope(ProfileRead)),
    ("Trigger", Rule::scope(TriggersRead)),
    ("Event", Rule::scope(EventsRead)),
    ("ApiKey", Rule::MEMBER),
    ("Login", Rule::LOGIN),
    ("Consent", Rule::scope(TriggersRead)),
    ("Session", Rule::scope(SessionsRead)),
    ("Webhook", Rule::scope(WebhooksRead)),
    ("Delivery", Rule::scope(WebhooksRead)),
    ("Room", Rule::scope(ChatRead)),
    ("Message", Rule::scope(ChatRead)),
    ("Report", Rule::order(Role::Moderator)),
    ("AuditEntry", Rule::order(Role::Admin)),
];

/// Mutations that hand out a secret or a login, or end what a key could be kept with: an idempotency key is ignored
/// there. Source: the protocol, Errors.
pub const WITHOUT_IDEMPOTENCY: &[&str] = &[
    "register",
    "login",
    "logout",
    "changePassword",
    "deleteAccount",
    "createApiKey",
    "createWebhook",
    "createSocketTicket",
];

/// Subscriptions that do the work of a mutation, and take its idempotency key.
pub const SUBSCRIPTIONS_WITH_IDEMPOTENCY: &[&str] = &["generation"];

/// Mutations that end where their caller goes away: until they are done nothing is changed. Source: the protocol, AI.
pub const ENDS_WITH_CALLER: &[&str] = &["generate"];

/// The rule of a field, where it has one of its own.
pub fn field(object: &str, field: &str) -> Option<&'static Rule> {
    FIELDS
        .iter()
        .find(|row| row.0 == object && row.1 == field)
        .map(|row| &row.2)
}

/// The rule of an object type.
pub fn object(name: &str) -> Option<&'static Rule> {
    OBJECTS.iter().find(|row| row.0 == name).map(|row| &row.1)
}

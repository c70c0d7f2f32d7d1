//! What a model is sent: the system prompt, the triggers that may be used, what was said before, and the prompt.

use uuid::Uuid;

use super::provider::{Message, Role, tokens};
use crate::triggers;

/// An earlier turn of the session.
#[derive(Clone, Debug)]
pub struct Turn {
    pub prompt: String,
    pub answer: String,
    /// The triggers that the answer may have something of.
    pub carried: Vec<Carried>,
}

/// A trigger, and which revision of it.
pub type Carried = (Uuid, i32);

/// What an answer is made of.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    pub system_prompt: Option<&'a str>,
    /// What may be used on the member at this moment.
    pub usable: &'a [triggers::View],
    /// Whether the member wants it used.
    pub include_triggers: bool,
    /// First said first.
    pub history: &'a [Turn],
    pub prompt: &'a str,
    /// About how many tokens may be sent.
    pub budget: usize,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub messages: Vec<Message>,
    /// The triggers that the model is offered, in the order of their activation.
    pub offered: Vec<triggers::View>,
    /// The triggers that the answer may have something of: what is offered, and what the turns that are sent carry.
    pub carried: Vec<Carried>,
}

/// Puts together what is sent, within the budget: the system prompt and the prompt always, then triggers, the last
/// activated first, then turns, the last first. A turn that carries a trigger which may no longer be used is left out
/// whole: nobody can tell what its answer has of it.
pub fn compose(material: &Material<'_>) -> Context {
    let mut left = material.budget.saturating_sub(tokens(material.prompt));
    if let Some(system_prompt) = material.system_prompt {
        left = left.saturating_sub(tokens(system_prompt));
    }
    let mut offered = Vec::new();
    if material.include_triggers && !material.usable.is_empty() {
        left = left.saturating_sub(tokens(ABOUT_TRIGGERS));
        for trigger in material.usable.iter().rev() {
            let Some(rest) = left.checked_sub(tokens(&describe(trigger))) else {
                break;
            };
            left = rest;
            offered.push(trigger.clone());
        }
        offered.reverse();
    }
    let mut turns = Vec::new();
    for turn in material.history.iter().rev() {
        if !may_be_used(material.usable, &turn.carried) {
            continue;
        }
        let Some(rest) = left.checked_sub(tokens(&turn.prompt) + tokens(&turn.answer)) else {
            break;
        };
        left = rest;
        turns.push(turn);
    }
    let mut carried: Vec<Carried> = offered.iter().map(|trigger| (trigger.id, trigger.revision)).collect();
    carried.extend(turns.iter().flat_map(|turn| &turn.carried));
    carried.sort_unstable();
    carried.dedup();
    let mut messages = Vec::with_capacity(2 * turns.len() + 2);
    messages.extend(system(material.system_prompt, &offered).map(|content| message(Role::System, content)));
    for turn in turns.into_iter().rev() {
        messages.push(message(Role::User, turn.prompt.clone()));
        messages.push(message(Role::Assistant, turn.answer.clone()));
    }
    messages.push(message(Role::User, material.prompt.to_owned()));
    Context {
        messages,
        offered,
        carried,
    }
}

/// Whether all that is carried may be used now, in the revision of then.
pub fn may_be_used(usable: &[triggers::View], carried: &[Carried]) -> bool {
    let is_usable = |one: &Carried| usable.iter().any(|trigger| (trigger.id, trigger.revision) == *one);
    carried.iter().all(is_usable)
}

const ABOUT_TRIGGERS: &str = "The member has opted into the triggers below: short named cues, each with its activation \
    text. You may use these where they fit, and no others. When you use one, call it by its name.";

fn system(prompt: Option<&str>, offered: &[triggers::View]) -> Option<String> {
    let mut parts: Vec<String> = prompt.map(str::to_owned).into_iter().collect();
    if !offered.is_empty() {
        parts.push(ABOUT_TRIGGERS.to_owned());
        parts.extend(offered.iter().map(describe));
    }
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

fn describe(trigger: &triggers::View) -> String {
    let mut text = format!("Trigger: {}", trigger.name);
    if !trigger.description.is_empty() {
        text.push_str("\nDescription: ");
        text.push_str(&trigger.description);
    }
    text.push_str("\nActivation text: ");
    text.push_str(&trigger.content);
    text
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str, revision: i32) -> triggers::View {
        triggers::View {
            id: Uuid::now_v7(),
            creator_id: Uuid::now_v7(),
            creator: "alice".to_owned(),
            name: name.to_owned(),
            description: format!("about {name}"),
            content: format!("{name}, now"),
            is_public: true,
            revision,
            created_at: 0,
        }
    }

    fn turn(n: usize, carried: &[&triggers::View]) -> Turn {
        Turn {
            prompt: format!("prompt {n}"),
            answer: format!("answer {n}"),
            carried: carried.iter().map(|trigger| (trigger.id, trigger.revision)).collect(),
        }
    }

    fn material<'a>(usable: &'a [triggers::View], history: &'a [Turn]) -> Material<'a> {
        Material {
            system_prompt: Some("Be kind."),
            usable,
            include_triggers: true,
            history,
            prompt: "Hello",
            budget: 10_000,
        }
    }

    fn texts(context: &Context) -> String {
        let lines = context.messages.iter().map(|message| message.content.as_str());
        lines.collect::<Vec<_>>().join("\n---\n")
    }

    #[test]
    fn everything_is_sent_in_its_order() {
        let usable = [trigger("calm", 1), trigger("rest", 4)];
        let history = [turn(1, &[]), turn(2, &[&usable[0]])];
        let context = compose(&material(&usable, &history));
        assert_eq!(context.offered, usable);
        let roles: Vec<_> = context.messages.iter().map(|message| message.role).collect();
        let (user, assistant) = (Role::User, Role::Assistant);
        assert_eq!(roles, [Role::System, user, assistant, user, assistant, user]);
        let system = &context.messages[0].content;
        for part in ["Be kind.", "Trigger: calm", "about rest", "rest, now"] {
            assert!(system.contains(part), "{system}");
        }
        assert_eq!(context.messages[1].content, "prompt 1");
        assert_eq!(context.messages[5].content, "Hello");
    }

    #[test]
    fn triggers_are_offered_only_where_they_are_wanted() {
        let usable = [trigger("calm", 1)];
        let mut material = material(&usable, &[]);
        material.include_triggers = false;
        let context = compose(&material);
        assert!(context.offered.is_empty());
        assert_eq!(texts(&context), "Be kind.\n---\nHello");
        material.system_prompt = None;
        assert_eq!(compose(&material).messages.len(), 1);
    }

    #[test]
    fn a_turn_with_a_trigger_that_may_no_longer_be_used_is_not_sent_again() {
        let (calm, rest) = (trigger("calm", 1), trigger("rest", 4));
        let history = [
            turn(1, &[&calm]),
            turn(2, &[&calm, &rest]),
            turn(3, &[]),
            turn(4, &[&rest]),
        ];
        let sent = |usable: &[triggers::View]| {
            let text = texts(&compose(&material(usable, &history)));
            (1..5)
                .filter(|n| text.contains(&format!("answer {n}")))
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(&[calm.clone(), rest.clone()]), [1, 2, 3, 4]);
        assert_eq!(sent(std::slice::from_ref(&rest)), [3, 4]);
        assert_eq!(sent(&[]), [3]);
        let edited = triggers::View { revision: 2, ..calm };
        assert_eq!(sent(&[edited, rest]), [3, 4]);
    }

    #[test]
    fn what_the_answer_may_have_of_triggers_comes_from_earlier_turns_too() {
        let usable = [trigger("calm", 1), trigger("rest", 4)];
        let history = [turn(1, &[&usable[0]]), turn(2, &[])];
        let mut material = material(&usable, &history);
        material.include_triggers = false;
        assert_eq!(compose(&material).carried, [(usable[0].id, 1)]);
        material.include_triggers = true;
        assert_eq!(compose(&material).carried.len(), 2);
        material.usable = &usable[1..];
        assert_eq!(compose(&material).carried, [(usable[1].id, 4)]);
    }

    #[test]
    fn what_is_too_much_is_left_out_oldest_first_and_the_system_prompt_never() {
        let usable: Vec<_> = (0..3).map(|n| trigger(&format!("trigger{n}"), 1)).collect();
        let history: Vec<_> = (0..50).map(|n| turn(n, &[])).collect();
        let mut material = material(&usable, &history);
        let mut last = usize::MAX;
        for budget in (0..1_200).rev().step_by(20) {
            material.budget = budget;
            let context = compose(&material);
            let text = texts(&context);
            assert!(text.starts_with("Be kind.") && text.ends_with("Hello"));
            last = context.messages.len();
            let sent: usize = context.messages.iter().map(|message| tokens(&message.content)).sum();
            assert!(sent <= budget + 20 || last <= 2, "{sent} of {budget}");
            if last > 2 {
                assert!(text.contains("answer 49"), "the last turn stays longest");
            }
            if let [one] = context.offered.as_slice() {
                assert_eq!(
                    one.name, "trigger2",
                    "the trigger that was activated last stays longest"
                );
            }
        }
        assert_eq!(last, 2);
    }
}

//! The model that is always there: it says that no other is, and how to connect one.

use super::{Message, Role};

/// How much of what it was asked it repeats, in characters.
const ECHO: usize = 200;

/// Answers the same to the same, word by word.
pub(super) async fn ask(messages: &[Message], on_text: &mut (dyn FnMut(&str) + Send)) -> String {
    let answer = answer(messages);
    for word in answer.split_inclusive(' ') {
        on_text(word);
        // A stream like any other: whoever reads it gets a turn.
        tokio::task::yield_now().await;
    }
    answer
}

fn answer(messages: &[Message]) -> String {
    let mut answer = String::from(
        "Hello! No language model is connected here yet, so this answer is always the same. Whoever runs this server can \
         connect one in bambisleep.toml: a table [ai.models.NAME] with provider = \"openai\", base_url and model.",
    );
    let prompt = messages.iter().rfind(|message| message.role == Role::User);
    let echo = prompt.map(|prompt| shortened(&prompt.content)).unwrap_or_default();
    if !echo.is_empty() {
        answer.push_str(" You said: ");
        answer.push_str(&echo);
    }
    answer
}

/// The beginning of a text, in one line.
fn shortened(text: &str) -> String {
    let mut line = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        let space = if line.is_empty() { "" } else { " " };
        line.push_str(space);
        line.push_str(word);
        if line.chars().count() > ECHO {
            let mut kept: String = line.chars().take(ECHO - 1).collect();
            kept.push('…');
            return kept;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;

    fn user(content: &str) -> Message {
        Message {
            role: Role::User,
            content: content.to_owned(),
        }
    }

    #[tokio::test]
    async fn it_answers_the_same_to_the_same_in_pieces() {
        let messages = [
            Message {
                role: Role::System,
                content: "secret instructions".to_owned(),
            },
            user("first"),
            Message {
                role: Role::Assistant,
                content: "reply".to_owned(),
            },
            user("good \n\u{0}evening"),
        ];
        let mut pieces = Vec::new();
        let answer = ask(&messages, &mut |text| pieces.push(text.to_owned())).await;
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| !piece.is_empty()));
        assert_eq!(pieces.concat(), answer);
        assert!(answer.contains("No language model is connected") && answer.contains("bambisleep.toml"));
        assert!(answer.ends_with(" You said: good evening"), "{answer}");
        for other in ["secret", "first", "reply"] {
            assert!(!answer.contains(other), "{answer}");
        }
        assert_eq!(ask(&messages, &mut |_| {}).await, answer);
    }

    #[tokio::test]
    async fn it_needs_no_prompt_and_gives_others_a_turn() {
        assert!(ask(&[], &mut |_| {}).await.ends_with("and model."));
        let mut pieces = 0;
        assert!(poll_immediate(ask(&[user(" ")], &mut |_| pieces += 1)).await.is_none());
        assert_eq!(pieces, 1);
    }

    #[test]
    fn what_it_repeats_is_short() {
        let long = "ä".repeat(ECHO + 1);
        assert_eq!(shortened(&long), format!("{}…", "ä".repeat(ECHO - 1)));
        assert_eq!(shortened(&long[..ECHO * 2]), "ä".repeat(ECHO));
        let words = shortened(&"ab ".repeat(10_000));
        assert_eq!((words.chars().count(), words.chars().last()), (ECHO, Some('…')));
    }
}

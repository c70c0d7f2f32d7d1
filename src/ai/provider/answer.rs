//! An answer as a server of the OpenAI API writes it, in pieces or whole: data goes in, text comes out.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// The longest answer, in bytes of text.
pub(super) const LONGEST: usize = 64 * 1024;

/// What has come of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    is_understood: bool,
    is_finished: bool,
}

/// What one piece of data brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought<'a> {
    /// Text to add to what came before; never empty.
    Text(&'a str),
    /// The model is at work: what it thinks is no part of the answer.
    Thought,
    Nothing,
}

/// Why data is no part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is none of the API's.
    Garbled,
    /// It is an error.
    Error,
    /// The answer has more than [`LONGEST`] with it.
    TooLong,
}

impl Answer {
    /// Takes the data of one event, or the body of an answer that is not streamed.
    pub fn take(&mut self, data: &str) -> Result<Brought<'_>, Fault> {
        let data = data.trim();
        if data == "[DONE]" {
            self.is_understood = true;
            self.is_finished = true;
        }
        if self.is_finished || data.is_empty() {
            return Ok(Brought::Nothing);
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| Fault::Garbled)?;
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            return Err(Fault::Error);
        }
        self.is_understood |= chunk.choices.is_some();
        let before = self.text.len();
        let mut has_thought = false;
        let choices = chunk.choices.into_iter().flatten();
        for choice in choices.filter(|choice| choice.index.is_none_or(|index| index == 0)) {
            self.is_finished |= choice.message.is_some();
            self.is_finished |= choice.finish_reason.is_some_and(|reason| !reason.is_empty());
            for said in [choice.delta, choice.message].into_iter().flatten() {
                has_thought |= [&said.reasoning_content, &said.reasoning]
                    .into_iter()
                    .flatten()
                    .any(|thought| thought != "");
                said.content.iter().for_each(|content| content.add_to(&mut self.text));
            }
        }
        if self.text.len() > LONGEST {
            return Err(Fault::TooLong);
        }
        Ok(match &self.text[before..] {
            "" if has_thought => Brought::Thought,
            "" => Brought::Nothing,
            text => Brought::Text(text),
        })
    }

    /// Whether the server said that this was all.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether anything that came was of the API.
    pub fn is_understood(&self) -> bool {
        self.is_understood
    }

    /// All of the text; none where there is nothing but space.
    pub fn into_text(self) -> Option<String> {
        Some(self.text).filter(|text| !text.trim().is_empty())
    }
}

/// What servers send, as far as it matters here. They leave out and add members as they like.
#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    error: Option<IgnoredAny>,
    object: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u32>,
    /// A piece of the answer.
    delta: Option<Said>,
    /// All of it.
    message: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Content>,
    /// vLLM, llama.cpp, LM Studio.
    reasoning_content: Option<Value>,
    /// Ollama, and vLLM since 0.12.
    reasoning: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// Models that think show it as parts of other types beside the text.
#[derive(Deserialize)]
struct Part {
    r#type: Option<String>,
    text: Option<String>,
}

impl Content {
    fn add_to(&self, answer: &mut String) {
        match self {
            Content::Text(text) => answer.extend(text.chars().filter(may_be_kept)),
            Content::Parts(parts) => {
                let parts = parts.iter().filter(|part| part.r#type.as_deref() == Some("text"));
                for text in parts.filter_map(|part| part.text.as_deref()) {
                    answer.extend(text.chars().filter(may_be_kept));
                }
            }
        }
    }
}

/// Source: the protocol's rule for text. It also makes `\n` of `\r\n`, however it is split into pieces.
fn may_be_kept(c: &char) -> bool {
    !c.is_control() || matches!(c, '\t' | '\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What the data brought, one after the other, and the whole text.
    fn read(data: &[&str]) -> (Vec<String>, Answer) {
        let mut answer = Answer::default();
        let brought = data.iter().map(|data| match answer.take(data).unwrap() {
            Brought::Text(text) => text.to_owned(),
            other => format!("{other:?}"),
        });
        (brought.collect(), answer)
    }

    #[test]
    fn pieces_come_in_order_and_the_rest_is_passed_over() {
        let (brought, answer) = read(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning":"hm","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":""}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"lo"},"finish_reason":null}],"x":[1]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[]},{"type":"text","text":"!"}]}}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":3},"error":null}"#,
            r#"{"usage":{}}"#,
            "",
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
            "whatever comes then",
        ]);
        let none = "Nothing";
        assert_eq!(
            brought,
            [
                none, "Thought", "Thought", "Hel", none, "lo", "!", none, none, none, none, none, none
            ]
        );
        assert!(answer.is_finished());
        assert_eq!(answer.into_text().unwrap(), "Hello!");
    }

    #[test]
    fn either_end_is_one() {
        for end in [
            "[DONE]",
            " [DONE] ",
            r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"length"}]}"#,
        ] {
            let (_, answer) = read(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, end]);
            assert!(answer.is_finished(), "{end}");
        }
        let (_, answer) = read(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, r#"{"usage":{}}"#]);
        assert!(answer.is_understood() && !answer.is_finished());
    }

    #[test]
    fn an_answer_in_one_piece_is_finished() {
        let (brought, answer) = read(&[r#"{"choices":[{"message":{"role":"assistant","content":"whole"}}]}"#]);
        assert_eq!(brought, ["whole"]);
        assert!(answer.is_finished());
    }

    #[test]
    fn errors_and_garbage_are_told_apart() {
        for (data, fault) in [
            (r#"{"error":{"message":"out of memory"}}"#, Fault::Error),
            (r#"{"error":"out of memory"}"#, Fault::Error),
            (r#"{"object":"error","message":"out of memory"}"#, Fault::Error),
            ("<html>", Fault::Garbled),
            ("[1]", Fault::Garbled),
            ("{", Fault::Garbled),
            (r#"{"choices":7}"#, Fault::Garbled),
            (r#"{"choices":[{"delta":{"content":7}}]}"#, Fault::Garbled),
        ] {
            assert_eq!(Answer::default().take(data), Err(fault), "{data}");
        }
        let mut answer = Answer::default();
        assert_eq!(answer.take("{}"), Ok(Brought::Nothing));
        assert!(!answer.is_understood());
    }

    #[test]
    fn text_has_no_control_characters() {
        let text = json!({ "choices": [{ "delta": { "content": "a\0\u{1b}[1m\r" } }] }).to_string();
        let more = json!({ "choices": [{ "delta": { "content": "\n\tb\u{85}\u{7f}" } }] }).to_string();
        let nothing = json!({ "choices": [{ "delta": { "content": "\0" } }] }).to_string();
        let (brought, answer) = read(&[&text, &more, &nothing]);
        assert_eq!(brought, ["a[1m", "\n\tb", "Nothing"]);
        assert_eq!(answer.into_text().unwrap(), "a[1m\n\tb");
    }

    #[test]
    fn nothing_but_space_is_no_answer() {
        let (_, answer) = read(&[r#"{"choices":[{"delta":{"content":" \n"}}]}"#]);
        assert_eq!(answer.into_text(), None);
        assert_eq!(Answer::default().into_text(), None);
    }

    #[test]
    fn an_answer_has_a_length() {
        let half = "x".repeat(LONGEST / 2);
        let chunk = json!({ "choices": [{ "delta": { "content": half } }] }).to_string();
        let mut answer = Answer::default();
        answer.take(&chunk).unwrap();
        answer.take(&chunk).unwrap();
        let one_more = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
        assert_eq!(answer.take(one_more), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole(pieces in prop::collection::vec(any::<String>(), 0..20)) {
            let mut answer = Answer::default();
            let mut together = String::new();
            for piece in &pieces {
                let chunk = json!({ "choices": [{ "delta": { "content": piece } }] }).to_string();
                if let Brought::Text(text) = answer.take(&chunk).unwrap() {
                    prop_assert!(!text.is_empty());
                    together.push_str(text);
                }
            }
            prop_assert!(!together.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert_eq!(answer.text, together);
        }

        #[test]
        fn any_data_can_be_taken(data in any::<String>()) {
            let _ = Answer::default().take(&data);
        }
    }
}

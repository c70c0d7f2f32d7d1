//! Cuts a long text into pieces that can be read aloud one after the other.

/// `text` in pieces of at most `max` Unicode characters, cut after sentences where there are any, else between words,
/// else anywhere. All that is lost is white space between them; no piece is empty.
///
/// # Panics
///
/// If `max` is 0.
pub(super) fn split(text: &str, max: usize) -> Vec<&str> {
    assert!(max > 0, "a piece has at least a character");
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while let Some((limit, _)) = rest.char_indices().nth(max) {
        let (piece, after) = rest.split_at(cut(rest, limit));
        pieces.push(piece.trim_end());
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// The best place to cut `text`, which does not begin with white space: at most at `limit`, which it goes beyond.
fn cut(text: &str, limit: usize) -> usize {
    let (mut sentence, mut word) = (None, None);
    for (place, char) in text.char_indices().take_while(|(place, _)| *place <= limit) {
        let end = place + char.len_utf8();
        if char.is_whitespace() {
            word = Some(place);
            if char == '\n' || ends_sentence(&text[..place]) {
                sentence = word;
            }
        } else if matches!(char, '。' | '！' | '？') && end <= limit {
            // No white space follows these.
            sentence = Some(end);
        }
    }
    sentence.or(word).unwrap_or(limit)
}

fn ends_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '\'', '”', '’', '»', ')', ']', '*', '_'])
        .ends_with(['.', '!', '?', '…', ':'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_stay_whole_where_they_can() {
        assert_eq!(split("One. Two, three.", 20), ["One. Two, three."]);
        assert_eq!(split("One. Two! “Three?” Four", 19), ["One. Two! “Three?”", "Four"]);
        assert_eq!(split("One. Two, three.", 15), ["One.", "Two, three."]);
        assert_eq!(split("a heading\nand a line", 15), ["a heading", "and a line"]);
        assert_eq!(split("an answer of 3.5 m", 16), ["an answer of 3.5", "m"]);
        assert_eq!(split("これは。それは。", 5), ["これは。", "それは。"]);
    }

    #[test]
    fn words_stay_whole_where_sentences_cannot() {
        assert_eq!(split("alpha beta gamma", 10), ["alpha beta", "gamma"]);
        assert_eq!(split("alpha beta gamma", 12), ["alpha beta", "gamma"]);
        assert_eq!(split("ääääää", 4), ["ääää", "ää"]);
    }

    #[test]
    fn white_space_alone_is_nothing() {
        assert_eq!(split(" \n ", 5), [""; 0]);
        assert_eq!(split("", 5), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_piece_is_too_long(text in "([a-zß。.!? \n\u{3000}]|.){0,80}", max in 1_usize..20) {
            let pieces = split(&text, max);
            for piece in &pieces {
                prop_assert!((1..=max).contains(&piece.chars().count()), "{:?}", piece);
                prop_assert_eq!(piece.trim(), *piece);
            }
            let dense = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(dense(&pieces.join(" ")), dense(&text));
        }
    }
}

//! Which triggers a text names: whole words, regardless of case, in any script.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// A text, ready to be searched for names.
pub struct Words {
    text: String,
    /// Where in `text` a word, or what stands between words, begins or ends.
    bounds: HashSet<usize>,
}

impl Words {
    /// Words are told apart as Unicode does (UAX #29), which knows scripts without spaces too.
    pub fn of(text: &str) -> Words {
        let text = fold(text);
        let mut bounds: HashSet<usize> = text.split_word_bound_indices().map(|(index, _)| index).collect();
        bounds.insert(text.len());
        // Unlike UAX #29, so that a name in `_emphasis_` is one.
        for (index, c) in text.char_indices() {
            if c == '_' {
                bounds.extend([index, index + 1]);
            }
        }
        // Nor is a possessive part of the name.
        for (index, _) in text.match_indices("'s") {
            if bounds.contains(&(index + 2)) {
                bounds.insert(index);
            }
        }
        Words { text, bounds }
    }

    /// Whether `name` is there as whole words.
    pub fn name(&self, name: &str) -> bool {
        let name = fold(name);
        if name.is_empty() {
            return false;
        }
        let mut from = 0;
        while let Some(found) = self.text[from..].find(&name) {
            let start = from + found;
            if self.bounds.contains(&start) && self.bounds.contains(&(start + name.len())) {
                return true;
            }
            // The next place may overlap this one.
            from = start + self.text[start..].chars().next().map_or(1, char::len_utf8);
        }
        false
    }
}

/// Without case, compatibility forms and kinds of white space and apostrophe. Case goes by capital letters, as `ß` and
/// `SS`, `ς` and `σ` are the same.
fn fold(text: &str) -> String {
    let without_case = text
        .nfkc()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '\u{2019}' { '\'' } else { c });
    let text: String = without_case.nfc().collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_named() {
        for (name, text) in [
            ("calm", "Stay CALM now"),
            ("Calm", "calm"),
            ("calm", "be (calm)."),
            ("calm", "**calm** and _calm_"),
            ("calm", "_calm_"),
            ("calm", "Calm's way"),
            ("calm", "Calm’s way"),
            ("deep calm", "a Deep\n  calm"),
            ("go!", "ready, go! now"),
            ("naïve", "NAI\u{308}VE"),
            ("straße", "die STRASSE"),
            ("οδος", "ΟΔΟΣ"),
            ("静か", "とても静かな夜"),
            ("спокойствие", "«Спокойствие»"),
            ("🌙 moon", "the 🌙 Moon rises"),
            ("c++", "I like C++."),
            ("aa b", "aaa aa b"),
        ] {
            assert!(Words::of(text).name(name), "{name} in {text}");
        }
    }

    #[test]
    fn parts_of_words_are_not() {
        for (name, text) in [
            ("calm", "calmly"),
            ("calm", "becalm"),
            ("calm", ""),
            ("can", "I can't"),
            ("deep calm", "deep, calm"),
            ("ёлка", "ёлками"),
            ("on", "moon"),
            ("cafe", "cafe\u{301}"),
            ("1", "10"),
        ] {
            assert!(!Words::of(text).name(name), "{name} in {text}");
        }
    }
}

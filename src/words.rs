//! The words that an operator does not want to see: found as whole words, however they are spelled.
//!
//! Text and words are folded into cells, one for a letter: regardless of case, without marks and invisible characters,
//! with look-alike letters as the letter that they look like. A digit or sign that is used for a letter (`5` for `s`)
//! stands in the cell of that letter and still knows what it is, so that `455` is a number and `5pam` a word.

use std::{collections::HashMap, fmt, sync::LazyLock};

use aho_corasick::AhoCorasick;
use unicode_normalization::{
    UnicodeNormalization,
    char::{canonical_combining_class, is_combining_mark},
};
use unicode_security::skeleton;

/// How many words a list may have.
pub const MOST_WORDS: usize = 10_000;
/// The longest word or phrase, in characters.
pub const LONGEST_WORD: usize = 100;

/// Digits and signs that are used as letters.
const STAND_INS: &[(char, &[char])] = &[
    ('0', &['o']),
    ('1', &['i', 'l']),
    ('3', &['e']),
    ('4', &['a']),
    ('5', &['s']),
    ('7', &['t']),
    ('8', &['b']),
    ('9', &['g']),
    ('@', &['a']),
    ('$', &['s']),
    ('!', &['i', 'l']),
    ('|', &['i', 'l']),
    ('€', &['e']),
    ('+', &['t']),
];

/// The words of a list, ready to look for in any text. An empty list finds nothing.
#[derive(Default)]
pub struct Words(Option<Lists>);

/// The same words folded in two ways: a capital of one script may look like a letter that its small form does not
/// resemble, so no single way finds both what is written in capitals and what only looks like it.
struct Lists {
    count: usize,
    by_case: List,
    by_looks: List,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.len())
    }
}

impl Words {
    /// Reads a list: one word or phrase a line; blank lines and those that begin with `#` are left out.
    ///
    /// # Errors
    ///
    /// A line that is too long or has neither letter nor digit, a list that is too long or has no words; completes a
    /// sentence that begins with the list.
    pub fn read(list: &str) -> Result<Words, String> {
        let mut words = Vec::new();
        for (index, line) in list.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            if line.chars().count() > LONGEST_WORD {
                return Err(format!("has more than {LONGEST_WORD} characters in line {number}"));
            }
            let folded = [Fold::Case, Fold::Looks].map(|fold| word_cells(line, fold));
            if !folded.iter().all(|cells| cells.iter().any(|cell| cell.is_word)) {
                return Err(format!("has neither letter nor digit in line {number}"));
            }
            if words.len() == MOST_WORDS {
                return Err(format!("has more than {MOST_WORDS} words"));
            }
            words.push(folded);
        }
        if words.is_empty() {
            return Err("has no words".to_owned());
        }
        let count = words.len();
        let (by_case, by_looks): (Vec<_>, Vec<_>) = words.into_iter().map(|[case, looks]| (case, looks)).unzip();
        Ok(Words(Some(Lists {
            count,
            by_case: List::new(by_case)?,
            by_looks: List::new(by_looks)?,
        })))
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |lists| lists.count)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a text has one of the words. Takes time in proportion to the text.
    pub fn are_in(&self, text: &str) -> bool {
        let Some(lists) = &self.0 else {
            return false;
        };
        lists.by_case.is_in(&cells(text, Fold::Case)) || lists.by_looks.is_in(&cells(text, Fold::Looks))
    }
}

/// One folded letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    /// What it is, folded.
    is: char,
    /// What it is searched by: the same for a letter and all that may stand in for it.
    key: char,
    /// Whether it was a letter or a digit, which a word goes on with.
    is_word: bool,
}

impl Cell {
    fn new(is: char) -> Self {
        let key = match is {
            // What stands in for one of them may stand in for the other.
            'l' => 'i',
            _ => stands_for(is).first().copied().unwrap_or(is),
        };
        Self {
            is,
            key,
            is_word: is.is_alphanumeric() || is_combining_mark(is),
        }
    }
}

fn stands_for(c: char) -> &'static [char] {
    STAND_INS
        .iter()
        .find(|(sign, _)| *sign == c)
        .map_or(&[], |(_, letters)| letters)
}

/// In which order letters are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    /// To small letters, then to what those look like.
    Case,
    /// To what they look like, then to small letters.
    Looks,
}

fn cells(text: &str, fold: Fold) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_invisible(*c) && !is_mark(*c)) {
        if c.is_whitespace() {
            // A phrase is found however its words are set apart.
            if cells.last().is_some_and(|last| last.is != ' ') {
                cells.push(Cell::new(' '));
            }
            continue;
        }
        match fold {
            Fold::Case => small(c).for_each(|c| cells.extend(looks_like(c).chars().map(Cell::new))),
            Fold::Looks => cells.extend(looks_like(c).chars().flat_map(small).map(Cell::new)),
        }
    }
    cells
}

/// The small form of a letter, the same for all that share a capital.
fn small(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'ς' => ('σ', None),
        'ß' | 'ẞ' => ('s', Some('s')),
        c => (c, None),
    };
    let letters = first.to_lowercase().chain(second);
    letters.filter(|c| !is_mark(*c))
}

/// The cells of a word, without a space at its end.
fn word_cells(word: &str, fold: Fold) -> Vec<Cell> {
    let mut cells = cells(word, fold);
    if cells.last().is_some_and(|last| last.is == ' ') {
        cells.pop();
    }
    cells
}

/// A letter as the one that it looks like: a Latin one where there is one.
fn looks_like(c: char) -> String {
    /// What letters and digits of ASCII have in common with what looks like them.
    static LATIN: LazyLock<HashMap<String, char>> = LazyLock::new(|| {
        // The first one counts: letters before digits, small ones first.
        let all = ('a'..='z').chain('A'..='Z').chain('0'..='9').rev();
        let all = all.collect::<Vec<_>>().into_iter();
        all.map(|c| (shape(c), c)).collect()
    });
    if c.is_ascii() {
        return c.to_string();
    }
    let shape = shape(c);
    match LATIN.get(&shape) {
        Some(letter) => letter.to_string(),
        None if !shape.is_empty() && shape.chars().all(char::is_alphanumeric) => shape,
        None => c.to_string(),
    }
}

fn shape(c: char) -> String {
    skeleton(c.encode_utf8(&mut [0; 4])).collect()
}

/// Accents, points and the like, with which a word is still the same. Vowel signs, which make it another, are kept.
fn is_mark(c: char) -> bool {
    const VIRAMA: u8 = 9;
    is_combining_mark(c) && !matches!(canonical_combining_class(c), 0 | VIRAMA)
}

/// Source: Unicode 17, Default_Ignorable_Code_Point.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a script is written without spaces, so that a word of it may begin and end anywhere.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Words folded in one way.
struct List {
    search: AhoCorasick,
    /// For each text that is searched for, the words that it may be.
    words: Vec<Vec<Vec<Cell>>>,
}

impl List {
    fn new(words: Vec<Vec<Cell>>) -> Result<Self, String> {
        let mut by_key: HashMap<String, Vec<Vec<Cell>>> = HashMap::new();
        for word in words {
            let key = word.iter().map(|cell| cell.key).collect();
            by_key.entry(key).or_default().push(word);
        }
        let (keys, words): (Vec<_>, Vec<_>) = by_key.into_iter().unzip();
        let search = AhoCorasick::new(keys).map_err(|why| format!("cannot be searched for: {why}"))?;
        Ok(Self { search, words })
    }

    fn is_in(&self, text: &[Cell]) -> bool {
        let mut haystack = String::with_capacity(text.len());
        // Where in the haystack each cell begins.
        let mut places = Vec::with_capacity(text.len());
        for cell in text {
            places.push(haystack.len());
            haystack.push(cell.key);
        }
        self.search.find_overlapping_iter(&haystack).any(|found| {
            let start = places.partition_point(|place| *place < found.start());
            let end = places.partition_point(|place| *place < found.end());
            is_boundary(text, start)
                && is_boundary(text, end)
                && self.words[found.pattern()]
                    .iter()
                    .any(|word| is_word(&text[start..end], word))
        })
    }
}

/// Whether a word may begin or end between the cell at `place` and the one before.
fn is_boundary(text: &[Cell], place: usize) -> bool {
    let (Some(before), Some(after)) = (place.checked_sub(1).and_then(|last| text.get(last)), text.get(place)) else {
        return true;
    };
    !(before.is_word && after.is_word) || is_unspaced(before.is) || is_unspaced(after.is)
}

/// Whether cells that have a word's keys are that word: each is its letter or stands in for it, and not all stand in.
fn is_word(text: &[Cell], word: &[Cell]) -> bool {
    let mut letters = false;
    let mut stand_ins = false;
    for (cell, letter) in text.iter().zip(word) {
        if cell.is == letter.is {
            letters |= cell.is.is_alphabetic();
        } else if stands_for(cell.is).contains(&letter.is) {
            stand_ins = true;
        } else {
            return false;
        }
    }
    letters || !stand_ins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(list: &[&str]) -> Words {
        Words::read(&list.join("\n")).unwrap()
    }

    #[test]
    fn whole_words_are_found_however_they_are_spelled() {
        let words = words(&["spam", "buy now", "million", "водка", "88", "全部", "Straße"]);
        for found in [
            "spam",
            "SPAM",
            "no spam!",
            "(spam)",
            "spam_bot",
            "x-spam-y",
            "user@spam.example",
            "$pam",
            "5p4m",
            "sp@m",
            "$p@m!",
            "s\u{200b}p\u{ad}am",
            "s\u{fe0f}pam\u{200d}",
            "spa\u{301}m",
            "śpàm",
            "ｓｐａｍ",
            "𝓼𝓹𝓪𝓶",
            "ⓢⓟⓐⓜ",
            "sраm",
            "ЅРАМ",
            "ѕрαm",
            "buy  now",
            "Buy\nnow",
            "buy\u{a0}n0w",
            "million",
            "m1ll10n",
            "mi1|ion",
            "M!LL!ON",
            "водка",
            "ВОДКА",
            "Водка",
            "вoдкa",
            "88",
            "in 88, then",
            "这是全部了",
            "STRASSE",
            "straße",
        ] {
            assert!(words.are_in(found), "{found}");
        }
    }

    #[test]
    fn other_words_are_not() {
        let words = words(&["spam", "fall", "ass", "88", "so", "b"]);
        for other in [
            "", " ", "spams", "antispam", "spam1", "sp am", "s-p-a-m", "span", "class", "cl@$$", "grass", "glass5",
            "assess", "fail", "FAIL", "fal", "bb", "room 455", "455", "50 years", "$0", "5o5", "8", "188", "881",
            "8 8",
        ] {
            assert!(!words.are_in(other), "{other}");
        }
        assert!(words.are_in("fa1l") && words.are_in("F4LL"));
    }

    #[test]
    fn vowel_signs_make_other_words() {
        let words = words(&["कल", "שלום"]);
        assert!(words.are_in("कल") && words.are_in("यह कल है"));
        assert!(!words.are_in("काल") && !words.are_in("कला"));
        // Points are left out in most writing.
        assert!(words.are_in("שָׁלוֹם"));
    }

    #[test]
    fn lists() {
        let words = Words::read("\u{feff}# what nobody wants\n\n  spam \r\nbuy now\n").unwrap();
        assert_eq!(words.len(), 2);
        assert_eq!(format!("{words:?}"), "Words(2)");
        assert!(!words.are_in("what nobody wants"));
        assert!(!Words::default().are_in("spam"));
        for (list, why) in [
            ("", "has no words"),
            ("# spam\n \n", "has no words"),
            ("spam\n!?\n", "has neither letter nor digit in line 2"),
            ("\u{200b}", "has neither letter nor digit in line 1"),
        ] {
            assert_eq!(Words::read(list).unwrap_err(), why, "{list:?}");
        }
        let long = "x".repeat(LONGEST_WORD + 1);
        assert!(Words::read(&long).unwrap_err().contains("in line 1"));
        let many = |count: usize| (0..count).map(|n| format!("word{n}\n")).collect::<String>();
        assert!(Words::read(&many(MOST_WORDS)).unwrap().are_in("a word9999 b"));
        assert!(Words::read(&many(MOST_WORDS + 1)).is_err());
    }

    proptest! {
        #[test]
        fn a_word_is_found_between_spaces_and_in_any_case(
            word in "[a-zа-яα-ω]{1,12}", before in ".{0,20}", after in ".{0,20}",
        ) {
            let list = words(&[&word]);
            for spelled in [word.clone(), word.to_uppercase().to_lowercase(), format!("{before} {word} {after}")] {
                prop_assert!(list.are_in(&spelled), "{} in {}", word, spelled);
            }
        }

        #[test]
        fn stand_ins_are_read_as_letters(word in "x[a-z]{0,10}", seed in any::<u64>()) {
            let spelled: String = word.chars().enumerate().map(|(index, c)| {
                let sign = STAND_INS.iter().find(|(_, letters)| letters.contains(&c));
                match sign {
                    Some((sign, _)) if seed >> index & 1 == 1 => *sign,
                    _ => c,
                }
            }).collect();
            prop_assert!(words(&[&word]).are_in(&spelled), "{} in {}", word, spelled);
        }

        #[test]
        fn nothing_is_found_inside_a_longer_word(word in "[a-z]{1,8}", before in "[a-z]{0,3}", after in "[a-z]{0,3}") {
            prop_assume!(!before.is_empty() || !after.is_empty());
            let list = words(&[&word]);
            let longer = format!("{before}{word}{after}");
            prop_assert_eq!(list.are_in(&longer), longer == word);
        }

        #[test]
        fn any_text_can_be_looked_through(list in "\\PC{1,40}", text in any::<String>()) {
            if let Ok(words) = Words::read(&list) {
                words.are_in(&text);
                // A word is in itself.
                let is_in_itself = words.are_in(&list);
                prop_assert!(is_in_itself);
            }
        }
    }
}
